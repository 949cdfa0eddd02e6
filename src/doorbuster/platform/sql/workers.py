"""Worker numbers: each process leases one, so that no two make the same id.

The lease also carries how far the number's ids have come, reserved ahead: the next holder starts above it, even if
the clock was set back in between.
"""

from __future__ import annotations

import asyncio
import secrets

import sqlalchemy as sa
import structlog

from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.kernel.ids import WORKERS, Snowflake
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import History

LEASE_MS = 30_000
RENEW_S = 5.0
SKEW_MS = 5_000
"""A holder stops making ids so long before its lease ends: the clocks of two machines may differ by as much."""
RESERVED_MS = 15_000
"""How far ahead of the ids in use the stored floor is: more than passes between two renewals."""

HISTORY = History("doorbuster.platform.sql.worker_migrations")

metadata = sa.MetaData()

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("floor_ms", sa.BigInteger, nullable=False),
)


log = structlog.get_logger("workers")


class NoWorkerNumber(Exception):
    """All worker numbers are leased."""


class LeaseLost(Exception):
    """Another process holds our worker number: this one was stopped for longer than a lease and must end."""


class WorkerLease:
    """A leased number and the generator that uses it."""

    def __init__(self, database: Database, clock: Clock, owner: str, number: int, floor_ms: int, until_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self.number = number
        self.ids = Snowflake(clock, number, floor_ms)
        self.ids.use_until(until_ms - SKEW_MS)

    @classmethod
    async def take(cls, database: Database, clock: Clock) -> WorkerLease:
        """Leases the lowest free number. Raises NoWorkerNumber, Unavailable."""
        owner = secrets.token_hex(8)
        now_ms = clock.now_ms()
        number, floor_ms = await database.write(lambda tx: _take(tx, owner, now_ms))
        return cls(database, clock, owner, number, floor_ms, now_ms + LEASE_MS)

    async def keep(self) -> None:
        """Renews until cancelled. Raises LeaseLost.

        An outage of the database is sat out, however long: ids refuse themselves once the lease has ended, and the
        number is ours again when the database is back, unless somebody has taken it.
        """
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await self.renew()
            except Busy as outage:
                log.warning("worker number not renewed", number=self.number, error=repr(outage))

    async def renew(self) -> None:
        """Raises LeaseLost, Unavailable."""
        now_ms, last_ms = self._clock.now_ms(), self.ids.last_ms

        def work(tx: Tx) -> int:
            statement = (
                sa.update(workers)
                .where(workers.c.number == self.number, workers.c.owner == self._owner)
                .values(until_ms=now_ms + LEASE_MS, floor_ms=max(now_ms, last_ms) + RESERVED_MS)
            )
            return tx.execute(statement).rowcount

        if await self._database.write(work) != 1:
            raise LeaseLost(f"worker {self.number} is held by another process")
        self.ids.use_until(now_ms + LEASE_MS - SKEW_MS)

    async def release(self) -> None:
        """Gives the number back; its floor stays."""
        last_ms = self.ids.last_ms

        def work(tx: Tx) -> None:
            tx.execute(
                sa.update(workers)
                .where(workers.c.number == self.number, workers.c.owner == self._owner)
                .values(until_ms=0, floor_ms=last_ms + 1)
            )

        await self._database.write(work)


def _take(tx: Tx, owner: str, now_ms: int) -> tuple[int, int]:
    if tx.dialect == "postgres":
        tx.execute(sa.text("LOCK TABLE workers IN SHARE ROW EXCLUSIVE MODE"))
    rows = {row.number: row for row in tx.execute(sa.select(workers))}
    for number in range(WORKERS):
        row = rows.get(number)
        if row is not None and row.until_ms > now_ms:
            continue
        floor_ms: int = row.floor_ms if row is not None else 0
        lease = {"owner": owner, "until_ms": now_ms + LEASE_MS, "floor_ms": max(now_ms, floor_ms) + RESERVED_MS}
        if row is None:
            tx.execute(sa.insert(workers).values(number=number, **lease))
        else:
            tx.execute(sa.update(workers).where(workers.c.number == number).values(**lease))
        return number, floor_ms
    raise NoWorkerNumber(f"all {WORKERS} worker numbers are in use")
