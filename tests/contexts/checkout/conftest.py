"""Checkout on both databases."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from conftest import OpenDatabase
from contexts.checkout.neighbours import POT, TEA, THEIRS
from contexts.checkout.placing_shop import PlacingShop, build_shop
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from postgres_server import PostgresServer

MIGRATIONS = "doorbuster.contexts.checkout.migrations"
PLENTY = 1_000_000


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: a new one per test would take longer than the tests."""
    name = f"checkout_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f'CREATE DATABASE "{name}"'))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres.url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(kept_postgres_url: str) -> str:
    """Empty tables, if there are any."""
    await _execute(
        kept_postgres_url,
        """
        DO $$ DECLARE t record; BEGIN
            FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'checkout' AND tablename <> 'schema_version'
            LOOP EXECUTE format('DELETE FROM checkout.%I', t.tablename); END LOOP;
        END $$
        """,
    )
    return kept_postgres_url


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("checkout", MIGRATIONS)


@pytest.fixture
async def shop(
    platform: Platform, clock: ManualClock, database: Database, tmp_path: Path
) -> AsyncIterator[PlacingShop]:
    shop = build_shop(replace(platform, clock=clock), clock, database, tmp_path)
    for sku_id in (TEA, POT, THEIRS):
        shop.warehouse.stock(sku_id, PLENTY)
    yield shop
    await shop.built.close()
    shop.warehouse.ledger.close()
    shop.orders.ledger.close()


@pytest.fixture
async def other_shop(
    shop: PlacingShop, platform: Platform, open_database: OpenDatabase, tmp_path: Path
) -> AsyncIterator[PlacingShop]:
    """The same as another process has it: its own connections, its own memory, its own worker number."""
    database = await open_database("checkout", MIGRATIONS)
    elsewhere = replace(platform, clock=shop.clock, ids=Snowflake(SystemClock(), worker=2), wakeups=Wakeups())
    other = build_shop(elsewhere, shop.clock, database, tmp_path)
    yield other
    await other.built.close()
    other.warehouse.ledger.close()
    other.orders.ledger.close()
