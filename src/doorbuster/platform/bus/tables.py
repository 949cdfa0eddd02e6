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
    # See kernel.cause. Empty: no request asked for it, or an older version wrote it.
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
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
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.Index("parked_due", "consumer", "dead", "next_try_ms"),
)

TABLES = (outbox, positions, inbox, parked)


def create_tables() -> None:
    """For a context's first migration: the tables as they are today.

    A later change of them is a migration of each context, which finds it made already where the context is younger.
    """
    from alembic import op

    metadata.create_all(op.get_bind(), checkfirst=False)


def add_causes() -> None:
    """For a migration of each context: events say what they happened for, also those that were set aside."""
    from alembic import op

    known = sa.inspect(op.get_bind())
    for table in (outbox, parked):
        if all(column["name"] != "cause" for column in known.get_columns(table.name)):
            op.add_column(table.name, sa.Column("cause", sa.Text, nullable=False, server_default=""))
