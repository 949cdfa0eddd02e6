"""Sales that wait for their units, and units that went back to the warehouse."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.sql.types import BigKey

revision = "0002_allotting"


def upgrade() -> None:
    op.create_table(
        "sale_plans",
        sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("sale", sa.LargeBinary, nullable=False),
        sa.Column("planned_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "allotment_returns",
        sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity > 0", name="return_is_positive"),
        sqlite_with_rowid=False,
    )
    left = sa.text("units_left > 0")
    op.create_index("allotments_to_return", "allotments", ["closes_ms"], sqlite_where=left, postgresql_where=left)
