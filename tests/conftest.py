"""What all tests share: a real PostgreSQL, and each store on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History, migrate
from doorbuster.platform.sql.open import open_databases
from leaks import leaks as leaks  # a fixture of its own file
from postgres_server import PostgresServer, start_postgres
from redis_cluster import Cluster
from redis_server import RedisServer, start_redis

OpenDatabase = Callable[[str, str], Awaitable[Database]]
NOW_MS = 1_790_000_000_000


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for this session: given by address, found on the machine, or from a wheel."""
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis for this session: given by address, or found on the machine."""
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """A cluster of three masters for this session; a test that kills or moves something takes one of its own."""
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["redis_server", "redis_cluster"])
def redis_url(request: pytest.FixtureRequest) -> str:
    """One server and a cluster: whatever asks for this runs twice."""
    return request.getfixturevalue(request.param).url


@pytest.fixture
async def postgres_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database of its own."""
    async with postgres.fresh_database() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_settings(request: pytest.FixtureRequest) -> DatabaseSettings:
    """Both engines: whatever asks for this runs twice."""
    if request.param == "sqlite":
        return DatabaseSettings()
    return DatabaseSettings(url=request.getfixturevalue("postgres_url"))


@pytest.fixture
async def open_database(database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[OpenDatabase]:
    """`await open_database("orders", "doorbuster.contexts.orders.migrations")` → a migrated, empty database."""
    opened: list[Database] = []

    async def open_one(name: str, migrations: str) -> Database:
        database = (await open_databases(database_settings, tmp_path, [name]))[name]
        opened.append(database)
        await migrate(database, History(migrations), NOW_MS)
        return database

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


@pytest.fixture
def platform(clock: ManualClock, tmp_path: Path) -> Platform:
    """A platform whose time only moves when told to."""
    return Platform(Settings(data=str(tmp_path)), clock, Snowflake(SystemClock(), worker=1), Wakeups())
