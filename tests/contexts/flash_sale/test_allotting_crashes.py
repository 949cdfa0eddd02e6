"""kill -9 at every point between warehouse and sale: units leave once and come back once; both sides' books agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from conftest import NOW_MS, OpenDatabase
from contexts.crashing import die
from contexts.flash_sale.conftest import HOUR_MS, MERCHANT, SKU, request
from contexts.flash_sale.crash_child import Job
from contexts.flash_sale.two_sides import TwoSides, two_sides
from contexts.orders.gate import all_at_once
from doorbuster.contexts.flash_sale.allotting import LEFT_BEHIND_MS
from doorbuster.contexts.flash_sale.model import Sale
from doorbuster.contexts.flash_sale.tables import sale_plans
from doorbuster.contexts.inventory.tables import stock
from doorbuster.contracts.flash_sale import SaleProposal
from doorbuster.contracts.inventory import SkuUnits
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.money import Money
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database

CHILD = "contexts.flash_sale.crash_child"
UNITS, STOCK = 10, 25
GOOD = SaleProposal(SKU.sku_id, UNITS, Money(990, "CNY"), 2, NOW_MS - 1, NOW_MS + HOUR_MS, 60_000)


@pytest.fixture
async def postgres_url(postgres) -> AsyncIterator[str]:
    """A database of its own: two contexts are in it."""
    async with postgres.fresh_database() as url:
        yield url


@pytest.fixture
async def of_warehouse(open_database: OpenDatabase) -> Database:
    return await open_database("inventory", "doorbuster.contexts.inventory.migrations")


@pytest.fixture
async def sides(platform: Platform, database: Database, of_warehouse: Database) -> TwoSides:
    built = two_sides(platform, database, of_warehouse)
    await built.warehouse.service.receive_many(MERCHANT.account_id, "first", [SkuUnits(SKU.sku_id, STOCK)])
    return built


@pytest.fixture
def job(tmp_path: Path, database_settings: DatabaseSettings, clock: ManualClock) -> Job:
    return Job("", str(tmp_path), database_settings.url, clock.now_ms(), GOOD)


async def prove(sides: TwoSides, of_warehouse: Database, *, allotted: int, claimed: int, returned: int) -> None:
    """On both sides' rows and books, and between them."""
    row = await of_warehouse.read(lambda tx: tx.execute(sa.select(stock)).one())
    assert (row.on_hand, row.held, row.allotted) == (STOCK, 0, allotted - returned)
    (ours,) = [fact async for page in sides.sale.service.sale_facts() for fact in page]
    (theirs,) = await sides.warehouse.service.allotment_facts_of([ours.sale_id])
    assert (ours.units + ours.returned, ours.claimed, ours.returned) == (allotted, claimed, returned)
    assert (theirs.allotted, theirs.sold, theirs.returned) == (allotted, 0, returned)
    for books in (sides.sale.service, sides.warehouse.service):
        assert [check for check in await books.audit() if check.verdict != "holds"] == []


@pytest.mark.parametrize("by", ["the sweep", "the merchant"])
@pytest.mark.parametrize("point", ["sale.planned", "inventory.allotted", "sale.allotted"])
async def test_killed_while_a_sale_is_made(
    sides: TwoSides, database: Database, of_warehouse: Database, clock: ManualClock, job: Job, point: str, by: str
) -> None:
    await die(CHILD, point, replace(job, what="create"))
    assert (await sides.sale.service.list_sales(None, 10)).items == []
    assert len(await database.read(lambda tx: tx.execute(sa.select(sale_plans)).all())) == 1
    if by == "the sweep":
        clock.advance(LEFT_BEHIND_MS)
        assert await sides.sale.service.allotting.carry_on() == 1
    sale = await sides.create(GOOD)
    assert (await sides.create(GOOD)).terms == sale.terms
    assert await sides.sale.service.allotting.carry_on() == 0
    await prove(sides, of_warehouse, allotted=UNITS, claimed=0, returned=0)


@pytest.mark.parametrize("point", ["sale.planned", "inventory.allotted", "sale.allotted"])
async def test_killed_again_while_it_is_carried_on(
    sides: TwoSides, of_warehouse: Database, clock: ManualClock, job: Job, point: str
) -> None:
    await die(CHILD, "sale.planned", replace(job, what="create"))
    clock.advance(LEFT_BEHIND_MS)
    await die(CHILD, point, replace(job, what="carry_on", now_ms=clock.now_ms()))
    assert await sides.sale.service.allotting.carry_on() == 1
    await prove(sides, of_warehouse, allotted=UNITS, claimed=0, returned=0)


async def over(sides: TwoSides, clock: ManualClock) -> Sale:
    """A sale that is closed, with three units claimed."""
    sale = await sides.create(GOOD)
    for customer, units in ((1, 2), (2, 1)):
        await sides.sale.service.claim(request(sale, customer, quantity=units))
    clock.advance(HOUR_MS)
    return sale


@pytest.mark.parametrize(
    ("what", "point"),
    [
        ("give_back", "sale.returned"),
        ("take_over", "relay.read-not-applied"),
        ("take_over", "inventory.unallotted-not-committed"),
        ("take_over", "relay.applied"),
    ],
)
async def test_killed_while_the_rest_goes_back(
    sides: TwoSides, of_warehouse: Database, clock: ManualClock, job: Job, what: str, point: str
) -> None:
    await over(sides, clock)
    if what == "take_over":
        assert await sides.sale.service.allotting.give_back() == 1
    await die(CHILD, point, replace(job, what=what, now_ms=clock.now_ms()))
    for _ in range(2):
        assert await sides.sale.service.allotting.give_back() == 0, "told once already"
        await sides.take_over()
    await prove(sides, of_warehouse, allotted=UNITS, claimed=3, returned=7)


async def test_sales_that_want_the_same_stock_at_once_get_what_there_is(
    sides: TwoSides, of_warehouse: Database
) -> None:
    """Ten sales of ten for twenty-five units: two are held, and nobody else keeps a unit."""
    outcomes = await all_at_once(
        [lambda n=n: sides.sale.service.create_sale(MERCHANT, f"k{n}", GOOD) for n in range(10)]
    )
    made = [outcome for outcome in outcomes if isinstance(outcome, Sale)]
    assert len(made) == 2
    row = await of_warehouse.read(lambda tx: tx.execute(sa.select(stock)).one())
    assert (row.on_hand, row.allotted) == (STOCK, 2 * UNITS)
    assert [check for check in await sides.warehouse.service.audit() if check.verdict != "holds"] == []
