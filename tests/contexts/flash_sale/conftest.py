"""A flash sale on each database, with a catalogue of one SKU."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from conftest import NOW_MS, OpenDatabase
from doorbuster.contexts.flash_sale import store, wiring
from doorbuster.contexts.flash_sale.model import Sale
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import allotment_returns, allotments, claims, quotas, sale_plans, sales
from doorbuster.contracts.catalog import SkuFacts, SkuNotFound
from doorbuster.contracts.flash_sale import UNITS_MAX, Claim, ClaimRequest, SaleProposal
from doorbuster.contracts.inventory import OutOfStock
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from postgres_server import PostgresServer

MERCHANT = Principal(77, "merchant")
SKU = SkuFacts(9, 8, MERCHANT.account_id, "TEA-1", "Tea 茶", Money(1990, "CNY"), active=True)
HOUR_MS = 3_600_000

TABLES = (sales, allotments, claims, quotas, sale_plans, allotment_returns, outbox)

MakeSale = Callable[..., Awaitable[Sale]]


class OneSku:
    """The neighbour as the contract shows it: a catalogue that has one SKU."""

    async def sku(self, sku_id: int) -> SkuFacts:
        if sku_id != SKU.sku_id:
            raise SkuNotFound
        return SKU


class Warehouse:
    """The neighbour as the contract shows it: units leave once per sale, all or nothing."""

    def __init__(self, units: int = UNITS_MAX * 100) -> None:
        self.units = units
        self.allotted: dict[int, tuple[int, int]] = {}
        self.asked = 0

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        self.asked += 1
        if sale_id in self.allotted:
            assert self.allotted[sale_id] == (sku_id, units)
            return
        if units > self.units:
            raise OutOfStock(sku_ids=[str(sku_id)])
        self.units -= units
        self.allotted[sale_id] = (sku_id, units)


class Rows:
    """What the tables hold, and changes behind the service's back."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self._database = database
        self._clock = clock

    async def all(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self._database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        """All rows of all tables: to prove that nothing was written."""
        return [await self.all(table) for table in TABLES]

    async def left(self, sale_id: int) -> int:
        (row,) = await self.all(allotments, allotments.c.sale_id == sale_id)
        return row.units_left

    async def owner_of(self) -> dict[int, int]:
        """The customer of each order there is."""
        return {row.order_id: row.customer_id for row in await self.all(claims)}

    async def release(self, *made: Claim) -> int:
        """What the relay does about cancelled orders; how many claims it released."""
        pairs = [(claim.order_id, claim.sale_id) for claim in made]
        return len(await self._database.write(lambda tx: store.release(tx, pairs, self._clock.now_ms())))

    async def tamper(self, *statements: sa.Executable) -> None:
        await self._database.write(lambda tx: [tx.execute(statement) for statement in statements])


def request(sale: Sale, customer_id: int, key: str = "k", quantity: int = 1) -> ClaimRequest:
    return ClaimRequest(sale.terms.sale_id, customer_id, key, quantity)


@pytest.fixture(scope="session")
def kept_postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """One database for this folder: a new one per test would take longer than the tests."""
    name = f"flash_sale_{uuid.uuid4().hex[:12]}"
    asyncio.run(_execute(postgres.url, f'CREATE DATABASE "{name}"'))
    yield postgres.url_of(name)
    asyncio.run(_execute(postgres.url, f'DROP DATABASE "{name}" WITH (FORCE)'))


@pytest.fixture
async def postgres_url(kept_postgres_url: str) -> str:
    """Empty tables, if there are any, that have never been full."""
    await _execute(
        kept_postgres_url,
        """
        DO $$ DECLARE t record; BEGIN
            FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = 'flash_sale' AND tablename <> 'schema_version'
            LOOP EXECUTE format('TRUNCATE flash_sale.%I', t.tablename); END LOOP;
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
    return await open_database("flash_sale", "doorbuster.contexts.flash_sale.migrations")


@pytest.fixture
def flash_sale(platform: Platform, database: Database) -> FlashSaleService:
    return wiring.build(platform, database, OneSku(), Warehouse()).service


@pytest.fixture
def make_sale(flash_sale: FlashSaleService) -> MakeSale:
    """`await make_sale(units=100, limit=1)` → an open sale."""
    made = iter(range(1_000_000))

    async def make(
        units: int = 100, limit: int = 1, opens_ms: int = NOW_MS - 1, closes_ms: int = NOW_MS + HOUR_MS
    ) -> Sale:
        proposal = SaleProposal(SKU.sku_id, units, Money(990, "CNY"), limit, opens_ms, closes_ms, 60_000)
        return await flash_sale.create_sale(MERCHANT, f"sale-{next(made)}", proposal)

    return make


@pytest.fixture
def rows(database: Database, clock: ManualClock) -> Rows:
    return Rows(database, clock)


@pytest.fixture
async def other_flash_sale(platform: Platform, open_database: OpenDatabase) -> FlashSaleService:
    """The same sale as another process would have it: its own connections, its own memory, its own worker number."""
    database = await open_database("flash_sale", "doorbuster.contexts.flash_sale.migrations")
    elsewhere = replace(platform, ids=Snowflake(SystemClock(), worker=2), wakeups=Wakeups())
    return wiring.build(elsewhere, database, OneSku(), Warehouse()).service
