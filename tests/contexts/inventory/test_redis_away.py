"""Redis hangs, dies or was never there; the owner of a lock sleeps: the database's conditions decide, and nobody waits
for what does not answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa

from contexts.inventory.conftest import MERCHANT, OpenInventory
from doorbuster.contexts.inventory.deduction import scripted
from doorbuster.contexts.inventory.deduction.in_database import Grouped
from doorbuster.contexts.inventory.deduction.locked import Locked
from doorbuster.contexts.inventory.deduction.port import Writer
from doorbuster.contexts.inventory.holding import GuardOf
from doorbuster.contexts.inventory.model import Decision
from doorbuster.contexts.inventory.posting import Stale
from doorbuster.contexts.inventory.tables import hold_lines, holds, stock
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, SkuUnits
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.redis import Redis
from doorbuster.platform.sql.database import Database
from redis_server import RedisServer, start_redis

UNTIL = 1_790_000_900_000
PATIENCE_S = 60
"""Fifty time-outs one after another would take longer."""


def wants(order_id: int, units: int = 1) -> HoldRequest:
    return HoldRequest(order_id, (SkuUnits(1, units),), UNTIL)


async def stocked(inventory: InventoryContext, units: int) -> None:
    await inventory.service.receive_many(MERCHANT, "first", [SkuUnits(1, units)])


async def sold_out(inventory: InventoryContext, database: Database, units: int, crowd: range) -> None:
    """A crowd that wants a unit each gets exactly what there is, in time."""
    requests = [wants(order) for order in crowd]
    outcomes = await asyncio.wait_for(inventory.service.hold_many(requests), PATIENCE_S)
    assert Counter(type(outcome) for outcome in outcomes) == {Hold: units, OutOfStock: len(crowd) - units}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
    assert set(rows) >= {outcome.order_id for outcome in outcomes if isinstance(outcome, Hold)}
    assert [check for check in await inventory.service.audit() if check.verdict != "holds"] == []


async def counter(url: str) -> tuple[str | None, int]:
    redis = Redis(url)
    try:
        return await redis.command("HGET", scripted.STOCK, 1), int(await redis.command("HLEN", scripted.JOURNAL))
    finally:
        await redis.close()


def hang(server: RedisServer) -> None:
    os.kill(server.pid, signal.SIGSTOP)


@pytest.mark.parametrize("strategy", ["redis_lua", "redis_lock"])
@pytest.mark.parametrize("stop", [hang, RedisServer.stop], ids=["hung", "killed"])
async def test_without_redis_stock_is_sold_all_the_same(
    open_inventory: OpenInventory,
    database: Database,
    own_redis: RedisServer,
    strategy: str,
    stop: Callable[[RedisServer], None],
) -> None:
    inventory = await open_inventory(strategy, own_redis.url)
    await stocked(inventory, 12)
    if inventory.scripted is not None:
        await inventory.scripted.reconcile()
    (first,) = await inventory.service.hold_many([wants(1, 2)])
    assert isinstance(first, Hold)
    stop(own_redis)
    await sold_out(inventory, database, 10, range(100, 150))
    assert await inventory.service.hold_many([wants(1, 2)]) == [first]


@pytest.mark.parametrize("strategy", ["redis_lua", "redis_lock"])
async def test_a_redis_that_was_never_there(open_inventory: OpenInventory, database: Database, strategy: str) -> None:
    inventory = await open_inventory(strategy, "redis://127.0.0.1:9/0")
    await stocked(inventory, 5)
    await sold_out(inventory, database, 5, range(1, 30))


@pytest.mark.parametrize("strategy", ["redis_lua", "redis_lock"])
async def test_a_redis_that_comes_back_empty(
    open_inventory: OpenInventory, database: Database, own_redis: RedisServer, clock: ManualClock, strategy: str
) -> None:
    inventory = await open_inventory(strategy, own_redis.url)
    await stocked(inventory, 12)
    if inventory.scripted is not None:
        await inventory.scripted.reconcile()
    await inventory.service.hold_many([wants(order) for order in range(1, 5)])
    port = int(own_redis.url.rsplit(":", 1)[1].split("/")[0])
    own_redis.stop()
    selling = asyncio.ensure_future(inventory.service.hold_many([wants(order) for order in range(5, 9)]))
    again = start_redis(own=True, port=port)
    try:
        assert all(isinstance(outcome, Hold) for outcome in await selling)
        if inventory.scripted is not None:
            clock.advance(scripted.GRACE_MS)
            await inventory.scripted.reconcile()
            assert await counter(again.url) == ("4", 0)
        await sold_out(inventory, database, 4, range(100, 120))
    finally:
        again.stop()


async def test_the_reconciler_says_that_it_cannot(open_inventory: OpenInventory, own_redis: RedisServer) -> None:
    inventory = await open_inventory("redis_lua", own_redis.url)
    await stocked(inventory, 5)
    own_redis.stop()
    assert inventory.scripted is not None
    with pytest.raises(Unavailable):
        await inventory.scripted.reconcile()


# --- fencing ----------------------------------------------------------------------------------------------------------


class Sleeping(Writer):
    """Falls asleep with the lock in its hand, before its first write."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        super().__init__(database, clock)
        self.wake, self.asleep = asyncio.Event(), asyncio.Event()
        self.outcomes: list[object] = []

    async def write(self, requests: list[HoldRequest], *, lock: bool = True, guard: GuardOf | None = None) -> Decision:
        if not self.outcomes and not self.asleep.is_set():
            self.asleep.set()
            await self.wake.wait()
        try:
            decision = await super().write(requests, lock=lock, guard=guard)
        except Stale as refused:
            self.outcomes.append(refused)
            raise
        self.outcomes.append(decision)
        return decision


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    opened = Redis(redis_server.url)
    yield opened
    await opened.close()


async def test_a_sleeping_owner_s_late_write_is_refused_by_its_token(
    open_inventory: OpenInventory, database: Database, clock: ManualClock, redis: Redis
) -> None:
    """There is stock for both, so that nothing but the token can refuse it."""
    inventory = await open_inventory("redis_lock")
    await stocked(inventory, 5)
    writer = Sleeping(database, clock)

    async def leave_open() -> None:
        return

    slow = Locked(
        writer,
        RedisLocks(redis, "doorbuster:inventory:", lease_ms=50),
        Grouped(Writer(database, clock), 8, 8),
        leave_open,
    )
    late = asyncio.create_task(slow.hold(wants(1, 2)))
    await asyncio.wait_for(writer.asleep.wait(), PATIENCE_S)
    (next_one,) = await inventory.service.hold_many([wants(2, 1)])  # waits until the lock's time is over
    assert isinstance(next_one, Hold)
    before = await database.read(lambda tx: tx.execute(sa.select(stock)).all())
    writer.wake.set()
    assert isinstance(await late, Hold)
    refused, written = writer.outcomes
    assert isinstance(refused, Stale), "a late write went through"
    assert isinstance(written, Decision)
    (was,), (now,) = before, await database.read(lambda tx: tx.execute(sa.select(stock)).all())
    assert (now.held, now.version) == (was.held + 2, was.version + 1), "the refused write left nothing"
    assert now.fence > was.fence
    lines = await database.read(lambda tx: tx.execute(sa.select(hold_lines.c.order_id)).scalars().all())
    assert sorted(lines) == [1, 2]
    await slow.close()
