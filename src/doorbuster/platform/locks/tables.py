"""The tables of the locks in a database. A row stays for each name ever used: names are of things, not of requests."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.platform.locks.migrations")

metadata = sa.MetaData()

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("token", sa.BigInteger, nullable=False),
)

lock_fences = sa.Table(
    "lock_fences",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
)
"""Of the advisory locks, which have no row of their own."""
