"""Worker numbers: leased by one process at a time, lost with notice, and never making an id twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from conftest import NOW_MS, OpenDatabase
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import WORKERS
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql import workers as module
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.open import open_databases
from doorbuster.platform.sql.workers import (
    LEASE_MS,
    RESERVED_MS,
    SKEW_MS,
    LeaseLost,
    NoWorkerNumber,
    WorkerLease,
    workers,
)

from ..conftest import Until


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("workers", module.HISTORY.package)


@pytest.fixture
async def other_process(
    database: Database, database_settings: DatabaseSettings, tmp_path: Path
) -> AsyncIterator[Database]:
    """The same tables through connections of its own."""
    opened = (await open_databases(database_settings, tmp_path, ["workers"]))["workers"]
    yield opened
    await opened.close()


def rows(tx: Tx) -> list[Any]:
    return list(tx.execute(sa.select(workers).order_by(workers.c.number)))


class OutOfOrder:
    """A database whose writes fail while `out` is set."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.out = False
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        self.asked += 1
        if self.out:
            raise Unavailable
        return await self._database.write(work)


async def test_numbers_taken_at_once_are_all_different(database: Database, other_process: Database, clock: ManualClock):
    both = [database, other_process] * 15
    leases = await asyncio.gather(*(WorkerLease.take(each, clock) for each in both))
    assert sorted(lease.number for lease in leases) == list(range(30))
    assert len({row.owner for row in await database.read(rows)}) == 30


async def test_a_number_is_free_again_when_it_is_given_back(database: Database, clock: ManualClock):
    first, second = [await WorkerLease.take(database, clock) for _ in range(2)]
    made = [first.ids.next() for _ in range(5)]
    await first.release()
    third = await WorkerLease.take(database, clock)
    assert (first.number, second.number, third.number) == (0, 1, 0)
    assert third.ids.next() > max(made), "although the clock has not moved"


async def test_a_number_is_free_again_when_its_lease_has_ended_and_not_before(database: Database, clock: ManualClock):
    await WorkerLease.take(database, clock)
    clock.advance(LEASE_MS - 1)
    assert (await WorkerLease.take(database, clock)).number == 1
    clock.advance(1)
    assert (await WorkerLease.take(database, clock)).number == 0


async def test_renewing_keeps_the_number(database: Database, clock: ManualClock):
    lease = await WorkerLease.take(database, clock)
    for _ in range(5):
        clock.advance(LEASE_MS - 1)
        await lease.renew()
    assert (await WorkerLease.take(database, clock)).number == 1


async def test_the_floor_of_a_killed_process_is_above_its_ids_even_if_the_clock_was_set_back(
    database: Database, clock: ManualClock
):
    """Killed: it gave nothing back. The clock: as slow as the lease allows."""
    killed = await WorkerLease.take(database, clock)
    clock.advance(RESERVED_MS - 1)  # as long without a renewal as the reserve lasts
    made = [killed.ids.next() for _ in range(10)]
    await database.write(lambda tx: tx.execute(sa.update(workers).values(until_ms=0)))
    clock.advance(-3_600_000)
    heir = await WorkerLease.take(database, clock)
    assert heir.number == killed.number
    assert heir.ids.next() > max(made)


async def test_ids_ahead_of_the_clock_are_above_the_floor_of_the_heir_too(database: Database, clock: ManualClock):
    hasty = await WorkerLease.take(database, clock)
    made = [hasty.ids.next() for _ in range(50_000)]
    await hasty.renew()
    made += [hasty.ids.next() for _ in range(10)]
    clock.advance(LEASE_MS)
    await database.write(lambda tx: tx.execute(sa.update(workers).values(until_ms=0)))
    clock.advance(-LEASE_MS)
    assert (await WorkerLease.take(database, clock)).ids.next() > max(made)


async def test_a_lease_that_another_process_took_over_is_lost(
    database: Database, other_process: Database, clock: ManualClock
):
    stopped = await WorkerLease.take(database, clock)
    clock.advance(LEASE_MS)
    heir = await WorkerLease.take(other_process, clock)
    before = await database.read(rows)
    with pytest.raises(LeaseLost):
        await stopped.renew()
    await stopped.release()
    assert await database.read(rows) == before, "the heir's lease is as it was"
    await heir.renew()


async def test_a_process_that_was_stopped_makes_no_id_once_its_number_may_be_somebody_elses(
    database: Database, other_process: Database, clock: ManualClock, until: Until
):
    """It wakes up and goes on where it was, seconds before it asks for its lease again."""
    stopped = await WorkerLease.take(database, clock)
    keeping = asyncio.create_task(stopped.keep())
    await asyncio.sleep(0)
    clock.advance(LEASE_MS - SKEW_MS - 1)
    stopped.ids.next()
    clock.advance(1)
    with pytest.raises(Unavailable):
        stopped.ids.next()
    clock.advance(SKEW_MS)
    heir = await WorkerLease.take(other_process, clock)
    assert heir.number == stopped.number
    for make in (stopped.ids.next, stopped.ids.next_owner):
        with pytest.raises(Unavailable):
            make()
    heir.ids.next()
    keeping.cancel()


async def test_keeping_a_lease_moves_its_end(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, until: Until
):
    monkeypatch.setattr(module, "RENEW_S", 0.001)
    lease = await WorkerLease.take(database, clock)
    keeping = asyncio.create_task(lease.keep())
    for _ in range(3):
        clock.advance(LEASE_MS - SKEW_MS - 1)

        async def renewed() -> bool:
            return (await database.read(rows))[0].until_ms == clock.now_ms() + LEASE_MS

        await until(renewed)
    await asyncio.sleep(0)
    lease.ids.next()
    keeping.cancel()


async def test_keep_ends_with_a_lost_lease(
    database: Database, other_process: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RENEW_S", 0.001)
    stopped = await WorkerLease.take(database, clock)
    clock.advance(LEASE_MS)
    await WorkerLease.take(other_process, clock)
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(10):
            await stopped.keep()


async def test_an_outage_is_sat_out_without_ids_once_the_lease_has_ended(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, until: Until
):
    monkeypatch.setattr(module, "RENEW_S", 0.001)
    shaky: Any = OutOfOrder(database)
    lease = await WorkerLease.take(shaky, clock)
    keeping = asyncio.create_task(lease.keep())
    shaky.out = True

    async def asked_twice_more(before: int) -> bool:
        return shaky.asked >= before + 2

    clock.advance(LEASE_MS - 1)
    before = shaky.asked
    await until(lambda: asked_twice_more(before))
    assert not keeping.done()
    clock.advance(1)
    with pytest.raises(Unavailable):
        lease.ids.next()
    shaky.out = False

    async def has_ids_again() -> bool:
        try:
            return lease.ids.next() > 0
        except Unavailable:
            return False

    await until(has_ids_again)
    keeping.cancel()


async def test_when_all_numbers_are_leased_the_start_fails(database: Database, clock: ManualClock):
    held = [{"number": n, "owner": "x", "until_ms": NOW_MS + 1, "floor_ms": 0} for n in range(WORKERS)]
    await database.write(lambda tx: tx.execute(sa.insert(workers), held))
    with pytest.raises(NoWorkerNumber):
        await WorkerLease.take(database, clock)
    clock.advance(1)
    assert (await WorkerLease.take(database, clock)).number == 0
