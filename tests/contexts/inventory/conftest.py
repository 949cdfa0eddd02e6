"""An inventory with each strategy, on both databases and a real Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from msgspec.structs import replace

from conftest import OpenDatabase
from doorbuster.contexts.inventory.wiring import InventoryContext, build
from doorbuster.contracts.catalog import SkuFacts, SkuNotFound
from doorbuster.kernel.money import Money
from doorbuster.platform.context import Platform
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.tree import InventorySettings, RedisSettings
from doorbuster.platform.sql.database import Database
from redis_server import RedisServer, start_redis

MERCHANT, OTHER = 77, 78
OpenInventory = Callable[..., Awaitable[InventoryContext]]


class Shop:
    """Keeps contracts.catalog.Catalog: SKUs below 1000 are MERCHANT's, below 2000 OTHER's."""

    async def sku(self, sku_id: int) -> SkuFacts:
        if sku_id >= 2000:
            raise SkuNotFound
        merchant = MERCHANT if sku_id < 1000 else OTHER
        return SkuFacts(sku_id, sku_id, merchant, f"S{sku_id}", "Tea", Money(100, "EUR"), True)


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("inventory", "doorbuster.contexts.inventory.migrations")


@pytest.fixture
async def open_inventory(
    database: Database, platform: Platform, redis_server: RedisServer
) -> AsyncIterator[OpenInventory]:
    opened: list[InventoryContext] = []

    async def open_one(strategy: str, redis_url: str = "") -> InventoryContext:
        """With the Redis of the session, emptied, or with another one as it is."""
        if strategy.startswith("redis") and not redis_url:
            redis = Redis(redis_server.url)
            await redis.command("FLUSHALL")
            await redis.close()
        settings = replace(
            platform.settings,
            redis=RedisSettings(redis_url or redis_server.url),
            inventory=InventorySettings(strategy=strategy),  # type: ignore[arg-type]
        )
        context = build(Platform(settings, platform.clock, platform.ids, platform.wakeups), database, Shop())
        opened.append(context)
        return context

    yield open_one
    for context in opened:
        await context.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = start_redis(own=True)
    yield server
    server.stop()
