"""The bus's tables; every context that speaks or listens has them in its own schema."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    # The PostgreSQL transaction that wrote the row (0 on SQLite, whose one writer commits in sequence order):
    # sequence order is not commit order there, so readers go by transaction and stay below the oldest open one.
    sa.Column("txid", sa.BigInteger, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("aggregate_id", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Index("outbox_by_commit", "txid", "seq"),
    sqlite_autoincrement=True,  # or sequences restart after trimming
)

positions = sa.Table(
    "bus_positions",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("txid", sa.BigInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)

parked = sa.Table(
    "parked_events",
    metadata,
    sa.Column("consumer", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_ms", sa.BigInteger, nullable=False),
    sa.Column("dead", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Index("parked_due", "consumer", "dead", "next_try_ms"),
)

TABLES = (outbox, positions, inbox, parked)


def create_tables() -> None:
    """For a context's first migration. A later change of these tables is a migration of each context."""
    from alembic import op

    metadata.create_all(op.get_bind(), checkfirst=False)
