"""Redis hangs, dies and talks nonsense while stock is held: the database decides alone, and soon without waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import msgspec
import pytest
import sqlalchemy as sa

from conftest import OpenDatabase
from contexts.inventory.conftest import MERCHANT, Shop
from doorbuster.contexts.inventory.tables import holds
from doorbuster.contexts.inventory.wiring import build
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, SkuUnits
from doorbuster.platform.context import Platform
from doorbuster.platform.neighbour import Neighbours
from doorbuster.platform.settings.tree import InventorySettings, RedisSettings
from redis_server import RedisServer, start_redis

UNTIL = 1_790_000_900_000
UNITS = 15


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    server = _own()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield server.url
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.stop()


@asynccontextmanager
async def dead() -> AsyncIterator[str]:
    server = _own()
    server.stop()
    yield server.url


@asynccontextmanager
async def talking_nonsense() -> AsyncIterator[str]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(b"what is it?\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


def _own() -> RedisServer:
    if os.environ.get("DOORBUSTER_TEST_REDIS"):
        pytest.fail("this needs a Redis of its own to stop")
    return start_redis(own=True)


@pytest.mark.parametrize("strategy", ["redis_lua", "redis_lock"])
@pytest.mark.parametrize("trouble", [hanging, dead, talking_nonsense])
async def test_stock_is_held_and_not_oversold(
    platform: Platform, open_database: OpenDatabase, strategy: str, trouble: object
):
    database = await open_database("inventory", "doorbuster.contexts.inventory.migrations")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(trouble())  # type: ignore[operator]
        settings = msgspec.structs.replace(
            platform.settings,
            redis=RedisSettings(url),
            inventory=InventorySettings(strategy=strategy),  # type: ignore[arg-type]
        )
        own = replace(platform, settings=settings, neighbours=Neighbours())
        inventory = build(own, database, Shop())
        stack.push_async_callback(inventory.close)
        await inventory.service.receive_many(MERCHANT, "first", [SkuUnits(1, UNITS)])
        wanted = [HoldRequest(order, (SkuUnits(1, 1),), UNTIL) for order in range(1, UNITS + 6)]
        outcomes = await inventory.service.hold_many(wanted)
        assert sum(isinstance(outcome, Hold) for outcome in outcomes) == UNITS
        assert sum(isinstance(outcome, OutOfStock) for outcome in outcomes) == 5
        held = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
        assert len(held) == UNITS
        (seen,) = own.neighbours.snapshots()
        assert seen.breaker.failed >= 1, "it was asked"
        assert (seen.under_way, seen.waiting) == (0, 0)
        if strategy == "redis_lock":
            assert seen.breaker.calls < UNITS, "and then left alone: by the locks themselves, before the breaker must"
        assert all(check.ok for check in await inventory.service.audit())
