"""Units of a sale leave the warehouse once and come back once, wherever it stops in between."""

from __future__ import annotations

import msgspec
import pytest

from conftest import NOW_MS
from contexts.flash_sale.conftest import HOUR_MS, MERCHANT, SKU, OneSku, Rows, Warehouse, request
from contexts.orders.gate import all_at_once
from doorbuster.contexts.flash_sale import wiring
from doorbuster.contexts.flash_sale.allotting import LEFT_BEHIND_MS
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import allotment_returns, allotments, sale_plans, sales
from doorbuster.contracts.flash_sale import AllotmentReturned, SaleProposal
from doorbuster.contracts.inventory import OutOfStock
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money
from doorbuster.platform.bus.outbox import type_of
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.idempotency import idempotency_keys

GOOD = SaleProposal(SKU.sku_id, 10, Money(990, "CNY"), 2, NOW_MS - 1, NOW_MS + HOUR_MS, 60_000)


class Away(Warehouse):
    """Acts or not, and is gone before it answers."""

    def __init__(self, units: int, *, acts: bool) -> None:
        super().__init__(units)
        self.acts = acts
        self.away = True

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        if not self.away:
            await super().allot(sale_id, sku_id, units)
            return
        if self.acts:
            await super().allot(sale_id, sku_id, units)
        raise Unavailable("the warehouse")


@pytest.fixture
def warehouse() -> Warehouse:
    return Warehouse(100)


@pytest.fixture
def service(platform: Platform, database: Database, warehouse: Warehouse) -> FlashSaleService:
    return wiring.build(platform, database, OneSku(), warehouse).service


async def returned(rows: Rows) -> list[AllotmentReturned]:
    told = await rows.all(outbox, outbox.c.type == type_of(AllotmentReturned))
    return [msgspec.json.decode(row.payload, type=AllotmentReturned) for row in told]


async def test_a_sale_takes_its_units_out_of_the_warehouse_once(
    service: FlashSaleService, warehouse: Warehouse, rows: Rows
):
    sale = await service.create_sale(MERCHANT, "k", GOOD)
    assert await service.create_sale(MERCHANT, "k", GOOD) == sale
    assert warehouse.allotted == {sale.terms.sale_id: (SKU.sku_id, 10)}
    assert warehouse.units == 90
    assert len(await rows.all(sales)) == 1
    assert await rows.all(sale_plans) == []


async def test_ten_at_once_with_one_key_make_one_sale(service: FlashSaleService, warehouse: Warehouse, rows: Rows):
    made = await all_at_once([lambda: service.create_sale(MERCHANT, "k", GOOD)] * 10)
    assert len({sale.terms.sale_id for sale in made}) == 1  # type: ignore[union-attr]
    assert warehouse.units == 90
    (row,) = await rows.all(allotments)
    assert (row.units, row.units_left) == (10, 10)
    assert await rows.all(sale_plans) == []


async def test_without_stock_there_is_no_sale_and_the_key_is_free(
    service: FlashSaleService, warehouse: Warehouse, rows: Rows
):
    warehouse.units = 9
    before = await rows.everything()
    with pytest.raises(OutOfStock):
        await service.create_sale(MERCHANT, "k", GOOD)
    assert await rows.everything() == before
    assert await rows.all(idempotency_keys) == []
    warehouse.units = 10
    sale = await service.create_sale(MERCHANT, "k", GOOD)
    assert warehouse.allotted == {sale.terms.sale_id: (SKU.sku_id, 10)}


@pytest.mark.parametrize("acts", [True, False], ids=["acted", "not acted"])
async def test_a_plan_that_was_left_behind_becomes_the_sale(
    platform: Platform, database: Database, clock: ManualClock, rows: Rows, acts: bool
):
    warehouse = Away(100, acts=acts)
    service = wiring.build(platform, database, OneSku(), warehouse).service
    with pytest.raises(Unavailable):
        await service.create_sale(MERCHANT, "k", GOOD)
    assert await rows.all(sales) == [], "a sale without units is nobody's to see"
    warehouse.away = False
    assert await service.allotting.carry_on() == 0, "whoever asked may still be at it"
    clock.advance(LEFT_BEHIND_MS)
    assert await service.allotting.carry_on() == 1
    assert await service.allotting.carry_on() == 0
    (row,) = await rows.all(allotments)
    assert (row.units, row.units_left) == (10, 10)
    assert warehouse.allotted == {row.sale_id: (SKU.sku_id, 10)}
    assert (await service.create_sale(MERCHANT, "k", GOOD)).terms.sale_id == row.sale_id, "the key is bound to it"


async def test_a_plan_without_stock_is_forgotten(
    platform: Platform, database: Database, clock: ManualClock, rows: Rows
):
    warehouse = Away(5, acts=False)
    service = wiring.build(platform, database, OneSku(), warehouse).service
    with pytest.raises(Unavailable):
        await service.create_sale(MERCHANT, "k", GOOD)
    warehouse.away = False
    clock.advance(LEFT_BEHIND_MS)
    assert await service.allotting.carry_on() == 0
    assert [await rows.all(table) for table in (sales, sale_plans, idempotency_keys)] == [[], [], []]


async def test_units_allotted_to_a_plan_that_was_given_up_go_back(
    platform: Platform, database: Database, clock: ManualClock, rows: Rows
):
    """One finds no stock and gives up while another, who asked for the same key, gets it."""

    class Tight(Warehouse):
        async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
            await super().allot(sale_id, sku_id, units)
            await database.write(lambda tx: [tx.execute(table.delete()) for table in (sale_plans, idempotency_keys)])

    service = wiring.build(platform, database, OneSku(), Tight(100)).service
    with pytest.raises(OutOfStock):
        await service.create_sale(MERCHANT, "k", GOOD)
    (told,) = await returned(rows)
    assert (told.sku_id, told.number, told.quantity) == (SKU.sku_id, 1, 10)
    assert await rows.all(sales) == []


async def test_what_is_left_of_a_closed_sale_goes_back_once(service: FlashSaleService, clock: ManualClock, rows: Rows):
    sale = await service.create_sale(MERCHANT, "k", GOOD)
    sale_id = sale.terms.sale_id
    kept, gone = [await service.claim(request(sale, customer, quantity=2)) for customer in (1, 2)]
    assert await service.allotting.give_back() == 0, "an open sale keeps its units"
    clock.advance(HOUR_MS)
    await all_at_once([service.allotting.give_back] * 5)
    (row,) = await rows.all(allotments)
    assert (row.units, row.units_left) == (4, 0)
    await rows.release(gone)
    assert await service.allotting.give_back() == 1
    assert await service.allotting.give_back() == 0
    (row,) = await rows.all(allotments)
    assert (row.units, row.units_left) == (2, 0)
    told = await returned(rows)
    assert [(event.sale_id, event.number, event.quantity) for event in told] == [(sale_id, 1, 6), (sale_id, 2, 2)]
    assert [row.quantity for row in await rows.all(allotment_returns)] == [6, 2]
    assert all(check.ok for check in await service.audit())
    (fact,) = await service.sale_facts_of([sale_id])
    assert (fact.units, fact.left, fact.claimed, fact.returned) == (2, 0, 2, 8)
    assert [page async for page in service.sale_facts()] == [[fact]]
    assert (await service.claims([kept.order_id]))[0].merchant_id == MERCHANT.account_id
