"""Notifications on both databases."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from conftest import OpenDatabase
from contexts.notifications.notifying_shop import MIGRATIONS, NotifyingShop, build_shop
from contexts.notifications.servers import Receiver
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from postgres_server import PostgresServer


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: a new one per test would take longer than the tests."""
    name = f"notifications_{uuid.uuid4().hex[:12]}"
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
            FOR t IN SELECT tablename FROM pg_tables
                WHERE schemaname = 'notifications' AND tablename <> 'schema_version'
            LOOP EXECUTE format('DELETE FROM notifications.%I', t.tablename); END LOOP;
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
    return await open_database("notifications", MIGRATIONS)


@pytest.fixture
async def shop(platform: Platform, clock: ManualClock, database: Database) -> AsyncIterator[NotifyingShop]:
    built = build_shop(platform, clock, database)
    yield built
    await built.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver
