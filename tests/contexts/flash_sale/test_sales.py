"""Holding a sale: on terms that can be kept, by the merchant whose SKU it is, once per key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from conftest import NOW_MS
from contexts.flash_sale.conftest import HOUR_MS, MERCHANT, SKU, MakeSale, OneSku, Rows, Warehouse, request
from contexts.orders.gate import all_at_once, of_type
from doorbuster.contexts.flash_sale import store, wiring
from doorbuster.contexts.flash_sale.model import Sale
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import allotments, sales
from doorbuster.contracts.catalog import SkuFacts, SkuNotFound
from doorbuster.contracts.flash_sale import SaleNotFound, SaleNotOpen, SaleProposal, SaleTermsInvalid
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Row, Tx

GOOD = SaleProposal(SKU.sku_id, 100, Money(990, "CNY"), 2, NOW_MS + 1_000, NOW_MS + HOUR_MS, 60_000)
STRANGER = Principal(78, "merchant")


def proposal(**changes: Any) -> SaleProposal:
    return msgspec.structs.replace(GOOD, **changes)


async def test_a_sale_is_held_on_the_terms_proposed(flash_sale: FlashSaleService, rows: Rows) -> None:
    sale = await flash_sale.create_sale(MERCHANT, "k", GOOD)
    (terms,), (allotment,) = await rows.all(sales), await rows.all(allotments)
    assert (terms.sale_id, terms.merchant_id, terms.sku_id) == (sale.terms.sale_id, MERCHANT.account_id, SKU.sku_id)
    assert (terms.title, terms.price_amount, terms.currency, terms.limit_per_customer) == (SKU.title, 990, "CNY", 2)
    assert (allotment.units, allotment.units_left, allotment.version) == (100, 100, 1)
    assert (allotment.opens_ms, allotment.closes_ms) == (GOOD.opens_ms, GOOD.closes_ms)


@pytest.mark.parametrize(
    ("term", "changes"),
    [
        ("units", {"units": 0}),
        ("units", {"units": -1}),
        ("units", {"units": 100_000_001}),
        ("price", {"price": Money(0, "CNY")}),
        ("price", {"price": Money(-990, "CNY")}),
        ("price", {"price": Money(990, "USD")}),
        ("limit_per_customer", {"limit_per_customer": 0}),
        ("limit_per_customer", {"limit_per_customer": 1001}),
        ("opens_at", {"opens_ms": NOW_MS + HOUR_MS}),
        ("opens_at", {"opens_ms": NOW_MS + 2 * HOUR_MS}),
        ("closes_at", {"opens_ms": NOW_MS - 2 * HOUR_MS, "closes_ms": NOW_MS}),
        ("pay_within_s", {"pay_within_ms": 999}),
        ("pay_within_s", {"pay_within_ms": 7 * 24 * HOUR_MS + 1}),
    ],
)
async def test_terms_that_cannot_be_kept_are_refused_by_name_and_bind_no_key(
    flash_sale: FlashSaleService, rows: Rows, term: str, changes: dict[str, Any]
) -> None:
    before = await rows.everything()
    with pytest.raises(SaleTermsInvalid) as refused:
        await flash_sale.create_sale(MERCHANT, "k", proposal(**changes))
    assert refused.value.extra == {"term": term}
    assert await rows.everything() == before
    await flash_sale.create_sale(MERCHANT, "k", GOOD)


async def test_a_sku_that_is_not_on_sale_is_refused(platform: Platform, database: Database, rows: Rows) -> None:
    class Withdrawn(OneSku):
        async def sku(self, sku_id: int) -> SkuFacts:
            return msgspec.structs.replace(SKU, active=False)

    service = wiring.build(platform, database, Withdrawn(), Warehouse()).service
    with pytest.raises(SaleTermsInvalid) as refused:
        await service.create_sale(MERCHANT, "k", GOOD)
    assert refused.value.extra == {"term": "sku_id"}
    assert await rows.all(sales) == []


async def test_no_sku_no_sale(flash_sale: FlashSaleService, rows: Rows) -> None:
    with pytest.raises(SkuNotFound):
        await flash_sale.create_sale(MERCHANT, "k", proposal(sku_id=404))
    assert await rows.all(sales) == []


@pytest.mark.parametrize("stranger", [STRANGER, Principal(0, "merchant"), Principal(1, "customer")])
async def test_a_stranger_can_neither_hold_nor_open_nor_close_a_sale(
    flash_sale: FlashSaleService, rows: Rows, stranger: Principal
) -> None:
    with pytest.raises(Forbidden):
        await flash_sale.create_sale(stranger, "k", GOOD)
    assert await rows.all(sales) == []
    sale = await flash_sale.create_sale(MERCHANT, "k", GOOD)
    before = await rows.everything()
    for change in (flash_sale.open_sale, flash_sale.close_sale):
        with pytest.raises(Forbidden):
            await change(stranger, sale.terms.sale_id)
    assert await rows.everything() == before


async def test_an_admin_may_do_what_the_merchant_may(flash_sale: FlashSaleService) -> None:
    admin = Principal(1, "admin")
    sale = await flash_sale.create_sale(admin, "k", GOOD)
    assert sale.terms.merchant_id == MERCHANT.account_id
    opened = await flash_sale.open_sale(admin, sale.terms.sale_id)
    assert opened.allotment.state(NOW_MS) == "open"
    closed = await flash_sale.close_sale(admin, sale.terms.sale_id)
    assert closed.allotment.state(NOW_MS) == "closed"


async def test_the_same_key_makes_one_sale_and_gets_the_first_answer(
    flash_sale: FlashSaleService, rows: Rows, clock: ManualClock
) -> None:
    first = await flash_sale.create_sale(MERCHANT, "k", GOOD)
    clock.advance(2 * HOUR_MS)  # such a sale could not be created any more
    assert await flash_sale.create_sale(MERCHANT, "k", GOOD) == first
    assert len(await rows.all(sales)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await flash_sale.create_sale(MERCHANT, "k", proposal(units=1))
    assert len(await rows.all(sales)) == 1


async def test_a_crowd_with_one_key_makes_one_sale(flash_sale: FlashSaleService, rows: Rows) -> None:
    outcomes = await all_at_once([lambda: flash_sale.create_sale(MERCHANT, "k", GOOD)] * 20)
    assert len({sale.terms.sale_id for sale in of_type(outcomes, Sale)}) == len(await rows.all(sales)) == 1
    assert len(of_type(outcomes, Sale)) == 20


async def test_keys_of_two_merchants_do_not_meet(flash_sale: FlashSaleService, rows: Rows) -> None:
    await flash_sale.create_sale(MERCHANT, "k", GOOD)
    await flash_sale.create_sale(Principal(1, "admin"), "k", GOOD)
    assert len(await rows.all(sales)) == 2


async def test_opening_and_closing_again_changes_nothing(flash_sale: FlashSaleService, rows: Rows) -> None:
    sale_id = (await flash_sale.create_sale(MERCHANT, "k", GOOD)).terms.sale_id
    for change in (flash_sale.open_sale, flash_sale.close_sale):
        await change(MERCHANT, sale_id)
        before = await rows.everything()
        await change(MERCHANT, sale_id)
        assert await rows.everything() == before


@pytest.mark.parametrize("change", ["open_sale", "close_sale"])
async def test_a_change_is_dated_when_it_has_the_lock(
    flash_sale: FlashSaleService,
    make_sale: MakeSale,
    rows: Rows,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """It waits half a second for the batches of claims before it, the last of which may be as young."""
    opens_ms = NOW_MS + 1_000 if change == "open_sale" else NOW_MS - 1
    sale_id = (await make_sale(opens_ms=opens_ms)).terms.sale_id
    real = store.lock_allotments

    def waits(tx: Tx, sale_ids: Sequence[int]) -> Sequence[Row]:
        locked = real(tx, sale_ids)
        clock.advance(500)
        return locked

    monkeypatch.setattr(store, "lock_allotments", waits)
    await getattr(flash_sale, change)(MERCHANT, sale_id)
    (allotment,) = await rows.all(allotments)
    dated_ms = allotment.opens_ms if change == "open_sale" else allotment.closes_ms
    assert dated_ms == NOW_MS + 500


async def test_a_closed_sale_cannot_be_opened_again(flash_sale: FlashSaleService) -> None:
    sale = await flash_sale.create_sale(MERCHANT, "k", GOOD)
    await flash_sale.close_sale(MERCHANT, sale.terms.sale_id)
    reopened = await flash_sale.open_sale(MERCHANT, sale.terms.sale_id)
    assert reopened.allotment.state(NOW_MS) == "closed"
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(request(sale, 1))


async def test_there_is_no_sale_that_was_never_held(flash_sale: FlashSaleService) -> None:
    for ask in (flash_sale.sale(404), flash_sale.open_sale(MERCHANT, 404), flash_sale.close_sale(MERCHANT, 404)):
        with pytest.raises(SaleNotFound):
            await ask


async def test_sales_are_listed_newest_first_in_pages(flash_sale: FlashSaleService, make_sale: MakeSale) -> None:
    made = [(await make_sale()).terms.sale_id for _ in range(5)]
    first = await flash_sale.list_sales(None, 3)
    second = await flash_sale.list_sales(first.next_after, 3)
    assert [sale.terms.sale_id for sale in (*first.items, *second.items)] == sorted(made, reverse=True)
    assert second.next_after is None
