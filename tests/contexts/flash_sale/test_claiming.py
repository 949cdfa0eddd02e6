"""The semantics of a claim, on every database. Each is asserted on the rows."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from conftest import NOW_MS
from contexts.flash_sale.conftest import HOUR_MS, MERCHANT, MakeSale
from doorbuster.contexts.flash_sale import store
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import allotments, claims, quotas
from doorbuster.contracts.flash_sale import (
    Claim,
    ClaimRequest,
    LimitReached,
    SaleNotFound,
    SaleNotOpen,
    SoldOut,
)
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.database import Database


async def rows(database: Database, statement: sa.Select) -> list:
    return await database.read(lambda tx: list(tx.execute(statement)))


async def units_left(database: Database, sale_id: int) -> int:
    return (await rows(database, sa.select(allotments.c.units_left).where(allotments.c.sale_id == sale_id)))[0][0]


async def claim_count(database: Database) -> int:
    return (await rows(database, sa.select(sa.func.count()).select_from(claims)))[0][0]


async def release(flash_sale: FlashSaleService, database: Database, clock: ManualClock, *made: Claim) -> int:
    pairs = [(claim.order_id, claim.sale_id) for claim in made]
    return len(await database.write(lambda tx: store.release(tx, pairs, clock.now_ms())))


async def test_a_claim_fixes_price_and_deadline_and_tells_it_once(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=5)
    claim = await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "k", 1))
    assert (claim.unit_price.amount, claim.pay_by_ms) == (990, NOW_MS + 60_000)
    assert await units_left(database, sale.terms.sale_id) == 4
    assert [row.aggregate_id for row in await rows(database, sa.select(outbox))] == [claim.order_id]


async def test_the_same_key_gets_the_same_claim_also_after_the_sale(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, clock: ManualClock
) -> None:
    sale = await make_sale(units=1)
    request = ClaimRequest(sale.terms.sale_id, 1, "k", 1)
    first = await flash_sale.claim(request)
    assert await flash_sale.claim(request) == first
    clock.advance(2 * HOUR_MS)
    await flash_sale.live.refresh()
    assert await flash_sale.claim(request) == first
    assert await claim_count(database) == 1


async def test_the_same_key_with_another_body_is_an_error_and_takes_nothing(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=5, limit=5)
    await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "k", 1))
    with pytest.raises(IdempotencyKeyReused):
        await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "k", 2))
    assert await units_left(database, sale.terms.sale_id) == 4


async def test_refusals_bind_no_key(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, clock: ManualClock
) -> None:
    sale = await make_sale(units=1)
    winner = await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "a", 1))
    late = ClaimRequest(sale.terms.sale_id, 2, "b", 1)
    with pytest.raises(SoldOut):
        await flash_sale.claim(late)
    await release(flash_sale, database, clock, winner)
    await flash_sale.live.refresh()
    assert (await flash_sale.claim(late)).customer_id == 2


async def test_the_limit_counts_units_over_the_whole_sale(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=10, limit=3)
    await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "a", 2))
    with pytest.raises(LimitReached):
        await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "b", 2))
    await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "c", 1))
    assert await units_left(database, sale.terms.sale_id) == 7
    assert [row.used for row in await rows(database, sa.select(quotas))] == [3]


async def test_within_a_batch_a_customer_counts_once_per_unit(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=10, limit=3)
    sale_id = sale.terms.sale_id
    wanted = [ClaimRequest(sale_id, 1, key, units) for key, units in (("a", 2), ("b", 2), ("c", 1), ("d", 1))]
    outcomes = await flash_sale.claim_many([*wanted, ClaimRequest(sale_id, 2, "a", 3)])
    assert [type(outcome) for outcome in outcomes] == [Claim, LimitReached, Claim, LimitReached, Claim]
    assert await units_left(database, sale_id) == 4
    assert sorted(row.used for row in await rows(database, sa.select(quotas))) == [3, 3]


async def test_what_cannot_be_afforded_consumes_nothing_and_the_next_is_tried(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=2, limit=3)
    sale_id = sale.terms.sale_id
    three, one = await flash_sale.claim_many([ClaimRequest(sale_id, 1, "a", 3), ClaimRequest(sale_id, 2, "b", 1)])
    assert isinstance(three, SoldOut)
    assert isinstance(one, Claim)
    assert await units_left(database, sale_id) == 1


async def test_a_repeat_within_the_batch_shares_the_answer_and_leaves_the_unit_for_the_next(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=2)
    sale_id = sale.terms.sale_id
    first, again, other, reused = await flash_sale.claim_many(
        [
            ClaimRequest(sale_id, 1, "a", 1),
            ClaimRequest(sale_id, 1, "a", 1),
            ClaimRequest(sale_id, 2, "b", 1),
            ClaimRequest(sale_id, 1, "a", 2),
        ]
    )
    assert first == again
    assert isinstance(other, Claim)
    assert isinstance(reused, IdempotencyKeyReused)
    assert await units_left(database, sale_id) == 0


async def test_nothing_is_claimed_before_the_opening_or_after_the_close(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, clock: ManualClock
) -> None:
    sale = await make_sale(opens_ms=NOW_MS + 1000)
    request = ClaimRequest(sale.terms.sale_id, 1, "a", 1)
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(request)
    await flash_sale.open_sale(MERCHANT, sale.terms.sale_id)
    await flash_sale.claim(request)
    await flash_sale.close_sale(MERCHANT, sale.terms.sale_id)
    with pytest.raises(SaleNotOpen):
        await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 2, "b", 1))
    assert await claim_count(database) == 1


async def test_a_sale_that_does_not_exist_is_not_found(flash_sale: FlashSaleService, database: Database) -> None:
    with pytest.raises(SaleNotFound):
        await flash_sale.claim(ClaimRequest(404, 1, "a", 1))
    assert await claim_count(database) == 0


async def test_a_release_gives_units_and_quota_back_once(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, clock: ManualClock
) -> None:
    sale = await make_sale(units=3)
    claim = await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "a", 1))
    counts = await asyncio.gather(*(release(flash_sale, database, clock, claim, claim) for _ in range(5)))
    assert sum(counts) == 1
    assert await units_left(database, sale.terms.sale_id) == 3
    assert [(row.used, row.given_back) for row in await rows(database, sa.select(quotas))] == [(0, 1)]


async def test_quota_comes_back_at_most_three_times(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, clock: ManualClock
) -> None:
    sale = await make_sale(units=10)
    for n in range(4):
        claim = await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, f"k{n}", 1))
        await release(flash_sale, database, clock, claim)
    with pytest.raises(LimitReached):
        await flash_sale.claim(ClaimRequest(sale.terms.sale_id, 1, "k4", 1))
    assert await units_left(database, sale.terms.sale_id) == 10


async def test_ten_thousand_buyers_for_a_hundred_units_leave_exactly_a_hundred_rows(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale
) -> None:
    sale = await make_sale(units=100)
    sale_id = sale.terms.sale_id
    buyers = [ClaimRequest(sale_id, customer, f"key-{customer}", 1) for customer in range(1, 10_001)]
    double_clicks = buyers[:1000]
    cheats = [ClaimRequest(sale_id, customer, "second-key", 1) for customer in range(1, 1001)]
    # In waves below the bound of the queue: being turned away is another test's story.
    waves = [[*buyers[:3000], *double_clicks, *cheats], buyers[3000:7000], buyers[7000:]]
    outcomes = [outcome for wave in waves for outcome in await flash_sale.claim_many(wave)]
    winners = {outcome.order_id: outcome.customer_id for outcome in outcomes if isinstance(outcome, Claim)}
    assert len(winners) == len(set(winners.values())) == 100
    assert {type(outcome) for outcome in outcomes} <= {Claim, SoldOut, LimitReached}
    found = await rows(database, sa.select(claims.c.order_id, claims.c.customer_id))
    assert {row.order_id: row.customer_id for row in found} == winners
    assert await units_left(database, sale_id) == 0
    assert all(check.ok for check in await flash_sale.audit())
