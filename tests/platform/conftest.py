"""What the tests of the platform share: a PostgreSQL database that is emptied quickly, and a server to torment."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import pytest
import structlog
from hypothesis import settings

from postgres_server import PostgresServer
from redis_cluster import Cluster

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

EMPTY = """
    DO $$ DECLARE s name; BEGIN
        FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
        LOOP EXECUTE format('DROP SCHEMA %I CASCADE', s); END LOOP;
    END $$
"""
UNTIL_S = 20.0
"""How long a test waits for what must happen; only a failure takes so long."""

Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """What was logged; printing it with its traces would take longer than most tests."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[Cluster]:
    """One to torment: each test gives it back whole, its slots wherever they are by then."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def until() -> Until:
    """`await until(look)` → the first true answer of `look`."""

    async def poll(look: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(UNTIL_S):
            while not (found := await look()):
                await asyncio.sleep(0.005)
            return found

    return poll


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: making one per test would take longer than the tests."""
    name = f"platform_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f'CREATE DATABASE "{name}"'))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres.url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(kept_postgres_url: str) -> str:
    """A database without any schema."""
    await _execute(kept_postgres_url, EMPTY)
    return kept_postgres_url


@pytest.fixture(scope="session")
def kept_own_postgres() -> Iterator[PostgresServer]:
    server = PostgresServer.start()  # never the one at a given address: that is not ours to stop
    yield server
    server.stop()


@pytest.fixture
def own_postgres(kept_own_postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A running server without schemas that may be stopped, killed and set up badly; it is repaired afterwards."""
    asyncio.run(_execute(kept_own_postgres.url, EMPTY))
    yield kept_own_postgres
    try:
        asyncio.run(_execute(kept_own_postgres.url, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"))
    except OSError:
        kept_own_postgres.control("restart")
        asyncio.run(_execute(kept_own_postgres.url, "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"))


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()
