"""redis_lua and redis_lock when Redis or the process goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from doorbuster.contexts.inventory.deduction import scripted
from doorbuster.contexts.inventory.tables import holds, stock
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, SkuUnits
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database
from redis_server import RedisServer

UNTIL = 1_790_000_900_000

CHILD = """
import asyncio, sys
from pathlib import Path
from doorbuster.contexts.inventory.wiring import build
from doorbuster.contracts.inventory import HoldRequest, SkuUnits
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, InventorySettings, RedisSettings, Settings
from doorbuster.platform.sql.open import open_databases

async def main(folder, database_url, redis_url):
    of = DatabaseSettings(url=database_url)
    settings = Settings(
        data=folder, redis=RedisSettings(redis_url), inventory=InventorySettings(strategy="redis_lua"), database=of
    )
    database = (await open_databases(of, Path(folder), ["inventory"]))["inventory"]
    platform = Platform(settings, ManualClock(1_790_000_000_000), Snowflake(SystemClock(), worker=2), Wakeups())
    inventory = build(platform, database, None)
    await inventory.service.hold_many([HoldRequest(1, (SkuUnits(1, 3),), 1_790_000_900_000)])
    raise SystemExit("it did not crash")

asyncio.run(main(*sys.argv[1:]))
"""


def wants(order_id: int, units: int) -> HoldRequest:
    return HoldRequest(order_id, (SkuUnits(1, units),), UNTIL)


@pytest.fixture
async def inventory(open_inventory) -> InventoryContext:
    opened = await open_inventory("redis_lua")
    await opened.service.receive_many(77, "first", [SkuUnits(1, 5)])
    await opened.scripted.reconcile()
    return opened


async def counter(redis_server: RedisServer) -> tuple[str | None, int]:
    """Units in Redis, and entries in its journal."""
    redis = Redis(redis_server.url)
    try:
        left = await redis.command("HGET", scripted.STOCK, 1)
        return left, int(await redis.command("HLEN", scripted.JOURNAL))
    finally:
        await redis.close()


@pytest.mark.parametrize(
    ("at", "in_database", "restored"),
    [
        ("inventory.taken-in-redis", 0, "5"),
        ("inventory.held-not-committed", 0, "5"),
        ("inventory.held-not-settled", 3, "2"),
    ],
)
async def test_the_reconciler_restores_the_truth_after_a_kill(
    inventory: InventoryContext,
    database: Database,
    database_settings: DatabaseSettings,
    redis_server: RedisServer,
    clock: ManualClock,
    tmp_path: Path,
    at: str,
    in_database: int,
    restored: str,
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path),
        database_settings.url,
        redis_server.url,
        env=os.environ | {"DOORBUSTER_CRASH_AT": at},
    )
    assert await child.wait() == -signal.SIGKILL
    assert await counter(redis_server) == ("2", 1)
    held = await database.read(lambda tx: tx.execute(sa.select(stock.c.held)).scalar_one())
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
    assert (held, len(rows)) == (in_database, 1 if in_database else 0)

    assert inventory.scripted is not None
    await inventory.scripted.reconcile()
    # It may still be under way, as far as anybody can know: its units are not given to others yet.
    assert await counter(redis_server) == ("2", 0 if in_database else 1)
    clock.advance(scripted.GRACE_MS)
    await inventory.scripted.reconcile()
    assert await counter(redis_server) == (restored, 0)
    assert [check for check in await inventory.service.audit() if not check.ok] == []


async def test_a_flush_in_the_middle_oversells_nothing(
    inventory: InventoryContext, database: Database, redis_server: RedisServer
) -> None:
    redis = Redis(redis_server.url)
    (first,) = await inventory.service.hold_many([wants(1, 2)])
    selling = asyncio.ensure_future(inventory.service.hold_many([wants(order, 1) for order in range(2, 40)]))
    await redis.everywhere("FLUSHALL")
    outcomes = await selling
    again, refused = await inventory.service.hold_many([wants(1, 2), wants(99, 1)])
    assert again == first
    assert isinstance(refused, OutOfStock)
    assert sum(isinstance(outcome, Hold) for outcome in outcomes) == 3
    assert inventory.scripted is not None
    await inventory.scripted.reconcile()
    assert await counter(redis_server) == ("0", 0)
    await inventory.service.release_many([1])
    await inventory.scripted.reconcile()
    assert await counter(redis_server) == ("2", 0)
    await redis.close()


async def test_redis_lock_goes_on_above_the_fences_that_redis_forgot(open_inventory, redis_server: RedisServer) -> None:
    inventory = await open_inventory("redis_lock")
    await inventory.service.receive_many(77, "first", [SkuUnits(1, 5)])
    for order in range(1, 4):
        await inventory.service.hold_many([wants(order, 1)])
    redis = Redis(redis_server.url)
    await redis.everywhere("FLUSHALL")
    await redis.close()
    (outcome,) = await inventory.service.hold_many([wants(9, 1)])
    assert isinstance(outcome, Hold)
    assert await inventory.service.available([1]) == {1: 1}
