"""Runtime settings and their history."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    current = op.create_table(
        "settings_current",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(current, [{"id": 1, "version": 0}])
    op.create_table(
        "settings_entries",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("entry", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "settings_changes",
        sa.Column("version", BigKey, primary_key=True, autoincrement=False),
        sa.Column("changed_by", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.CheckConstraint("version > 0", name="version_is_positive"),
        sa.CheckConstraint("length(reason) > 0", name="a_change_has_a_reason"),
    )
    op.create_table(
        "settings_differences",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("before", sa.LargeBinary),
        sa.Column("after", sa.LargeBinary),
    )
    create_tables()
