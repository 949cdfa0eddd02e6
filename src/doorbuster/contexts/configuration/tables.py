"""The configuration tables."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

# One row. Whoever changes settings counts it up first, so that changes stand in one line.
current = sa.Table(
    "settings_current",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

entries = sa.Table(
    "settings_entries",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)

changes = sa.Table(
    "settings_changes",
    metadata,
    sa.Column("version", BigKey, primary_key=True, autoincrement=False),
    sa.Column("changed_by", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.CheckConstraint("version > 0", name="version_is_positive"),
    sa.CheckConstraint("length(reason) > 0", name="a_change_has_a_reason"),
)

differences = sa.Table(
    "settings_differences",
    metadata,
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("before", sa.LargeBinary),
    sa.Column("after", sa.LargeBinary),
)
