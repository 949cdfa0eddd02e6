"""What a claim's events say of the request that made it, also of those that were committed together."""

from __future__ import annotations

import asyncio

import pytest

from conftest import NOW_MS
from doorbuster.contexts.flash_sale import claiming
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contracts.flash_sale import Claim, ClaimRequest, SoldOut
from doorbuster.kernel.admission import Admission
from doorbuster.kernel.cause import text_of
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.request_context import RequestContext, working_on
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database

from .conftest import MakeSale, Rows

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_request(number: int, traceparent: str = PARENT) -> RequestContext:
    context = RequestContext(f"request-{number}", "POST", "/v1/sales/1/claims", 2**63 + 1, number)
    context.continue_trace(traceparent)
    return context


async def claimed_for(service: FlashSaleService, context: RequestContext | None, wanted: ClaimRequest) -> Claim:
    working_on(context)
    return await service.claim(wanted)


async def told(rows: Rows, kind: str = "flash_sale.claim-accepted") -> dict[int, str]:
    """The causes by order (an admission's event is about its sale)."""
    return {row.aggregate_id: row.cause for row in await rows.all(outbox, outbox.c.type == kind)}


async def test_requests_that_are_committed_together_keep_their_own(
    flash_sale: FlashSaleService, rows: Rows, make_sale: MakeSale, database: Database
) -> None:
    sale_id = (await make_sale(units=40)).terms.sale_id
    contexts = [None if number % 7 == 0 else a_request(number) for number in range(40)]
    claims = await asyncio.gather(
        *(
            asyncio.create_task(claimed_for(flash_sale, context, ClaimRequest(sale_id, 100 + number, "k", 1)))
            for number, context in enumerate(contexts)
        )
    )
    assert await told(rows) == {
        claim.order_id: text_of(context and context.cause) for claim, context in zip(claims, contexts, strict=True)
    }
    if database.dialect == "postgres":
        accepted = await rows.all(outbox, outbox.c.type == "flash_sale.claim-accepted")
        assert len({row.txid for row in accepted}) < len(accepted), "some shared a transaction"


async def test_a_batch_with_refusals_and_repeats_mixes_nobody_up(
    platform: Platform, database: Database, flash_sale: FlashSaleService, rows: Rows, make_sale: MakeSale
) -> None:
    """The order of the events is not that of the requests' places in the batch."""
    sale = await make_sale(units=2)
    sale_id = sale.terms.sale_id
    asked = [(1, "a", 1), (2, "b", 9), (1, "a", 1), (3, "c", 1), (4, "d", 1)]
    wanted = [
        ClaimRequest(sale_id, customer, key, quantity, cause=a_request(place).cause)
        for place, (customer, key, quantity) in enumerate(asked)
    ]
    terms = {sale_id: sale.terms}
    batch = await database.write(lambda tx: claiming.claim_batch(tx, wanted, terms, platform.clock, platform.ids.next))
    first, _, again, third, late = batch.outcomes
    assert isinstance(first, Claim) and first == again
    assert isinstance(third, Claim)
    assert isinstance(late, SoldOut)
    # A repeat is told nothing of: the event is the first one's.
    assert await told(rows) == {
        first.order_id: a_request(0).cause.text,
        third.order_id: a_request(3).cause.text,
    }


async def test_the_same_key_again_leaves_the_first_request_in_the_books(
    flash_sale: FlashSaleService, rows: Rows, make_sale: MakeSale
) -> None:
    wanted = ClaimRequest((await make_sale()).terms.sale_id, 1, "k", 1)
    for number in (1, 2):
        claim = await asyncio.create_task(claimed_for(flash_sale, a_request(number), wanted))
        assert await told(rows) == {claim.order_id: a_request(1).cause.text}


async def test_an_admission_is_used_up_for_the_same_request(
    platform: Platform,
    database: Database,
    flash_sale: FlashSaleService,
    rows: Rows,
    make_sale: MakeSale,
    clock: ManualClock,
) -> None:
    sale = await make_sale(opens_ms=NOW_MS + 1)
    sale_id = sale.terms.sale_id
    await flash_sale.guard(sale_id, guarded=True)
    clock.advance(2)
    admissions = [Admission(sale_id, customer, 50 + customer, NOW_MS + 60_000) for customer in (1, 2)]
    wanted = [
        ClaimRequest(sale_id, each.customer_id, "k", 1, each, a_request(each.customer_id).cause) for each in admissions
    ]
    terms = {sale_id: sale.terms}
    await database.write(lambda tx: claiming.claim_batch(tx, wanted, terms, platform.clock, platform.ids.next))
    used = await rows.all(outbox, outbox.c.type == "flash_sale.admission-used")
    assert [row.cause for row in used] == [a_request(1).cause.text, a_request(2).cause.text]


@pytest.mark.parametrize("traceparent", ["", "00-xyz", PARENT.upper(), f"ff{PARENT[2:]}"])
async def test_a_trace_that_is_malformed_or_missing_begins_here(
    flash_sale: FlashSaleService, rows: Rows, make_sale: MakeSale, traceparent: str
) -> None:
    sale_id = (await make_sale()).terms.sale_id
    contexts = [a_request(number, traceparent) for number in (1, 2)]
    for context in contexts:
        wanted = ClaimRequest(sale_id, contexts.index(context) + 1, "k", 1)
        await asyncio.create_task(claimed_for(flash_sale, context, wanted))
    causes = set((await told(rows)).values())
    assert causes == {context.cause.text for context in contexts}
    assert len({context.cause.trace_id for context in contexts} | {PARENT[3:35]}) == 3
