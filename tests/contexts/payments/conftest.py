"""Shops paid through a real simulator process, on both databases."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from contexts.payments.paying_shop import SECRET, Shop, build_shop, close_shop, real_now_ms
from doorbuster.kernel.clock import ManualClock
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from postgres_server import PostgresServer

MIGRATIONS = "doorbuster.contexts.payments.migrations"
ONE_TRY = ("--tries-max", "1")

OpenDatabase = Callable[[str, str], Awaitable[Database]]
OpenShop = Callable[..., Awaitable[Shop]]


@pytest.fixture
def clock() -> ManualClock:
    """Near real time, in which the simulator signs; moves only when told to."""
    return ManualClock(real_now_ms())


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: a new one per test would take longer than the tests."""
    name = f"payments_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f'CREATE DATABASE "{name}"'))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres.url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(kept_postgres_url: str) -> str:
    """Empty tables, if there are any."""
    await _execute(
        kept_postgres_url,
        """
        SET session_replication_role = replica;
        DO $$ DECLARE t record; BEGIN
            FOR t IN SELECT schemaname, tablename FROM pg_tables
                WHERE schemaname IN ('payments', 'orders') AND tablename <> 'schema_version'
            LOOP EXECUTE format('DELETE FROM %I.%I', t.schemaname, t.tablename); END LOOP;
        END $$
        """,
    )
    return kept_postgres_url


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()


@pytest.fixture(scope="session")
def shared_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """One process for all tests that do not mind the others' payments. Nobody hears its callbacks."""
    data = tmp_path_factory.mktemp("simulator") / "shared.sqlite"
    with SimulatorProcess(data, secrets=[SECRET], arguments=ONE_TRY) as simulator:
        yield simulator


@pytest.fixture
def own_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """A process of one's own, to be killed, or to read the whole statement of."""
    data = tmp_path_factory.mktemp("simulator") / "own.sqlite"
    simulator = SimulatorProcess(data, secrets=[SECRET], arguments=ONE_TRY).start()
    yield simulator
    simulator.kill()


@pytest.fixture
async def open_shop(open_database: OpenDatabase, platform: Platform, clock: ManualClock) -> AsyncIterator[OpenShop]:
    """`await open_shop(simulator, ...)` → a shop on an empty database; see `build_shop` for the options."""
    opened: list[Shop] = []

    async def open_one(simulator: SimulatorProcess, **options: Any) -> Shop:
        database = options.pop("database", None) or await open_database("payments", MIGRATIONS)
        shop = build_shop(replace(platform, clock=clock), clock, database, simulator, **options)
        opened.append(shop)
        return shop

    yield open_one
    for shop in opened:
        await close_shop(shop)


@pytest.fixture
async def shop(open_shop: OpenShop, shared_simulator: SimulatorProcess) -> AsyncIterator[Shop]:
    """Paid through the shared simulator, which behaves well again afterwards."""
    shop = await open_shop(shared_simulator)
    yield shop
    await shop.desk.misbehave()


@pytest.fixture
async def own_shop(open_shop: OpenShop, own_simulator: SimulatorProcess) -> Shop:
    """Paid through a simulator of its own."""
    return await open_shop(own_simulator)
