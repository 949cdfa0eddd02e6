"""An inventory with each strategy, on both databases and a real Redis."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import asyncpg
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
from postgres_server import PostgresServer
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


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: a new one per test would take longer than the tests."""
    name = f"inventory_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f'CREATE DATABASE "{name}"'))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres.url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(kept_postgres_url: str) -> str:
    """Empty tables, if there are any. The ledger's guard is asked to look away."""
    await _execute(
        kept_postgres_url,
        """
        SET session_replication_role = replica;
        DO $$ DECLARE t record; BEGIN
            FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'inventory' AND tablename <> 'schema_version'
            LOOP EXECUTE format('DELETE FROM inventory.%I', t.tablename); END LOOP;
        END $$
        """,
    )
    return kept_postgres_url


async def _execute(url: str, sql: str) -> None:
    connection: Any = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


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
            await redis.everywhere("FLUSHALL")
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
