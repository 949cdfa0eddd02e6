"""Two contexts to carry events between: a bank tells of deposits, the books add them up.

Every effect leaves an entry of its own, so that one that happens twice, never or out of order is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus import tables
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.types import BigKey

NOW_MS = 1_790_000_000_000


class Deposited(Event, frozen=True, tag="bank.deposited"):
    """`number` counts the deposits of an account."""

    account_id: int
    number: int
    amount: int

    @property
    def aggregate_id(self) -> int:
        return self.account_id


class Closed(Event, frozen=True, tag="bank.closed"):
    """Nobody listens to this one."""

    account_id: int

    @property
    def aggregate_id(self) -> int:
        return self.account_id


metadata = sa.MetaData()

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger, sa.CheckConstraint("amount < 1000"), nullable=False),
    sqlite_autoincrement=True,
)

accounts = sa.Table("accounts", metadata, sa.Column("id", BigKey, primary_key=True, autoincrement=False))


def create(tx: Tx) -> None:
    tables.metadata.create_all(tx.connection)
    metadata.create_all(tx.connection)


class Books:
    """The consumer and its way to fail: a deposit whose number is in `poison` raises."""

    def __init__(self, name: str = "books.deposits") -> None:
        self.poison: set[int] = set()
        self.batches: list[list[int]] = []
        self.consumer = Consumer(name, "bank", (Deposited,), self._enter)

    def _enter(self, tx: Tx, envelopes: Sequence[Envelope[Any]]) -> None:
        self.batches.append([envelope.event.number for envelope in envelopes])
        for envelope in envelopes:
            event: Deposited = envelope.event
            tx.execute(
                sa.insert(entries).values(
                    seq=envelope.seq, account_id=event.account_id, number=event.number, amount=event.amount
                )
            )
            if event.number in self.poison:
                raise ValueError(f"cannot enter deposit {event.number}")


def deposits(count: int, *, first: int = 0, accounts: int = 3) -> list[Deposited]:
    return [Deposited(n % accounts, n, 1) for n in range(first, first + count)]


async def tell(bank: Database, events: Sequence[Event], per_transaction: int = 1_000) -> None:
    """Emits the events, in order, with so many in each transaction."""
    for at in range(0, len(events), per_transaction):
        await bank.write(lambda tx, at=at: emit(tx, events[at : at + per_transaction], NOW_MS))


async def entered(books: Database) -> list[int]:
    """The numbers of the deposits whose effect there is, in the order in which it happened."""
    return await books.read(lambda tx: list(tx.execute(sa.select(entries.c.number).order_by(entries.c.id)).scalars()))


async def rows(database: Database, table: sa.Table) -> list[Any]:
    ordered = sa.select(table).order_by(*table.primary_key.columns)
    return await database.read(lambda tx: list(tx.execute(ordered)))


def in_order_for_each_account(numbers: Sequence[int], accounts: int = 3) -> bool:
    lists = [[number for number in numbers if number % accounts == account] for account in range(accounts)]
    return all(each == sorted(each) for each in lists)
