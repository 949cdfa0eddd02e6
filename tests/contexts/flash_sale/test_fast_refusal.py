"""The fast refusal: most of a stampede is turned away from memory, but only those who surely hold nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import pytest

from contexts.flash_sale.conftest import HOUR_MS, MERCHANT, MakeSale, OneSku, Rows, Warehouse, request
from doorbuster.contexts.flash_sale import wiring
from doorbuster.contexts.flash_sale.live import HOLDERS_PAUSE_MS, REFRESH_S, LiveSales
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contracts.flash_sale import Claim, LimitReached, SaleNotOpen, SoldOut
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Dialect, Tx

T = TypeVar("T")


class Counted:
    """A database that counts how often it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked = 0

    @property
    def name(self) -> str:
        return self._database.name

    @property
    def dialect(self) -> Dialect:
        return self._database.dialect

    async def write(self, work: Callable[[Tx], T]) -> T:
        self.asked += 1
        return await self._database.write(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        self.asked += 1
        return await self._database.read(work)

    async def close(self) -> None:
        await self._database.close()


@pytest.fixture
def counted(database: Database) -> Counted:
    return Counted(database)


@pytest.fixture
def flash_sale(platform: Platform, counted: Counted) -> FlashSaleService:
    return wiring.build(platform, counted, OneSku(), Warehouse()).service


async def sold_out(flash_sale: FlashSaleService, make_sale: MakeSale) -> tuple[Claim, Callable[..., object]]:
    """A sale whose one unit customer 1 holds, with its holders known; the claim, and a maker of requests."""
    sale = await make_sale(units=1)
    winner = await flash_sale.claim(request(sale, 1))
    with pytest.raises(SoldOut):
        await flash_sale.claim(request(sale, 2))
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    return winner, lambda *words: request(sale, *words)


async def test_until_the_holders_are_known_everybody_is_asked_for_at_the_database(
    flash_sale: FlashSaleService, make_sale: MakeSale, counted: Counted
) -> None:
    sale = await make_sale(units=1)
    await flash_sale.claim(request(sale, 1))
    for customer in range(2, 7):
        before = counted.asked
        with pytest.raises(SoldOut):
            await flash_sale.claim(request(sale, customer))
        assert counted.asked == before + 1


async def test_who_holds_nothing_is_refused_without_the_database(
    flash_sale: FlashSaleService, make_sale: MakeSale, counted: Counted, rows: Rows
) -> None:
    _, ask = await sold_out(flash_sale, make_sale)
    asked, held = counted.asked, await rows.everything()
    outcomes = await flash_sale.claim_many([ask(customer) for customer in range(2, 1000)])
    assert {type(outcome) for outcome in outcomes} == {SoldOut}
    assert counted.asked == asked
    assert await rows.everything() == held


async def test_a_winner_whose_answer_was_lost_gets_it_again(flash_sale: FlashSaleService, make_sale: MakeSale) -> None:
    winner, ask = await sold_out(flash_sale, make_sale)
    assert await flash_sale.claim(ask(1)) == winner
    with pytest.raises(LimitReached):
        await flash_sale.claim(ask(1, "another-key"))


async def test_a_winner_who_gave_the_unit_back_gets_the_old_answer_again(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows, clock: ManualClock
) -> None:
    winner, ask = await sold_out(flash_sale, make_sale)
    await rows.release(winner)
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    await flash_sale.claim(ask(2))
    clock.advance(HOLDERS_PAUSE_MS)
    with pytest.raises(SoldOut):
        await flash_sale.claim(ask(3))
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    assert await flash_sale.claim(ask(1)) == msgspec.structs.replace(winner, released=True)


async def test_after_the_close_strangers_are_refused_from_memory_and_winners_served(
    flash_sale: FlashSaleService, make_sale: MakeSale, counted: Counted, clock: ManualClock
) -> None:
    sale = await make_sale(units=5)
    winner = await flash_sale.claim(request(sale, 1))
    clock.advance(HOUR_MS)
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(request(sale, 2))
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    asked = counted.asked
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(request(sale, 3))
    assert counted.asked == asked
    assert await flash_sale.claim(request(sale, 1)) == winner


async def test_when_every_refill_signal_is_lost_refreshing_alone_finds_the_units(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    winner, ask = await sold_out(flash_sale, make_sale)
    await rows.release(winner)  # nothing wakes anybody
    with pytest.raises(SoldOut):
        await flash_sale.claim(ask(2))
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    assert (await flash_sale.claim(ask(2))).customer_id == 2


async def test_the_watch_finds_a_refill_within_a_quarter_of_a_second_or_two(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    winner, ask = await sold_out(flash_sale, make_sale)
    watching = asyncio.create_task(flash_sale.live.watch())
    await rows.release(winner)
    started_s = time.monotonic()
    while not isinstance((await flash_sale.claim_many([ask(2)]))[0], Claim):
        assert time.monotonic() < started_s + 5, "nobody saw the refill"
        await asyncio.sleep(REFRESH_S / 20)
    watching.cancel()


async def test_another_process_s_close_is_seen_by_refreshing(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=5)
    await flash_sale.claim(request(sale, 1))
    await other_flash_sale.close_sale(MERCHANT, sale.terms.sale_id)
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    assert (await flash_sale.sale(sale.terms.sale_id)).allotment.closes_ms <= sale.allotment.closes_ms - 1
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(request(sale, 2))


async def test_a_result_that_comes_late_never_overwrites_a_newer_one(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=2)
    first = await flash_sale.claim(request(sale, 1))
    view = await flash_sale.live.view(sale.terms.sale_id)
    after_first = view.allotment
    await flash_sale.claim(request(sale, 2))
    sold_out_version = view.allotment
    flash_sale.live.learn(after_first)
    assert view.allotment is sold_out_version
    await rows.release(first)
    await flash_sale.live.refresh()
    await flash_sale.live.refresh_holders()
    refilled = view.allotment
    assert refilled.version > sold_out_version.version
    flash_sale.live.learn(sold_out_version)  # a slow answer from before the refill
    assert view.allotment is refilled
    assert (await flash_sale.claim(request(sale, 3))).customer_id == 3


async def test_holders_of_an_older_version_prove_nothing(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    winner, ask = await sold_out(flash_sale, make_sale)
    await rows.release(winner)
    elsewhere = await other_flash_sale.claim(ask(2))  # sold out again, by somebody our list does not name
    live: LiveSales = flash_sale.live
    view = await live.view(winner.sale_id)
    assert view.holds_nothing(2)
    await live.refresh()
    assert not view.holds_nothing(2)
    assert await flash_sale.claim(ask(2)) == elsewhere


async def test_nothing_is_known_of_a_sale_that_nobody_asked_for(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=1)
    assert other_flash_sale.live.known(sale.terms.sale_id) is None
    other_flash_sale.live.learn(sale.allotment)
    assert other_flash_sale.live.known(sale.terms.sale_id) is None


async def test_a_crowd_before_the_first_look_costs_one_read(
    flash_sale: FlashSaleService, make_sale: MakeSale, counted: Counted
) -> None:
    sale = await make_sale(units=1)
    before = counted.asked
    await flash_sale.claim_many([request(sale, customer) for customer in range(1, 500)])
    assert counted.asked == before + 2  # the sale, and one batch
