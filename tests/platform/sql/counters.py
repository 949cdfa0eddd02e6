"""A table to count in, and what is done with it."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.database import Tx

metadata = sa.MetaData()

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.CheckConstraint("value >= 0", name="not_negative"),
)


def create(tx: Tx) -> None:
    metadata.create_all(tx.connection)


def put(tx: Tx, name: str, value: int = 0) -> None:
    tx.execute(sa.insert(counters).values(name=name, value=value))


def add(tx: Tx, name: str, amount: int = 1) -> None:
    tx.execute(sa.update(counters).where(counters.c.name == name).values(value=counters.c.value + amount))


def value(tx: Tx, name: str) -> int | None:
    return tx.execute(sa.select(counters.c.value).where(counters.c.name == name)).scalar()


def everything(tx: Tx) -> dict[str, int]:
    return {row.name: row.value for row in tx.execute(sa.select(counters))}
