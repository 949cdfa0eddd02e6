"""Two processes sell from one database: neither knows of the other, and nothing is sold or granted twice."""

from __future__ import annotations

from contexts.flash_sale.conftest import MERCHANT, MakeSale, Rows, request
from contexts.orders.gate import all_at_once, of_type
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import claims, quotas
from doorbuster.contracts.flash_sale import Claim, LimitReached, SoldOut

BUYERS, UNITS = 2_000, 50


async def test_two_thousand_buyers_with_double_keys_leave_exactly_fifty_rows(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=UNITS)
    both = (flash_sale, other_flash_sale)
    wanted = [request(sale, customer) for customer in range(1, BUYERS + 1)]
    outcomes = await all_at_once(
        [lambda service=service, want=want: service.claim(want) for want in wanted for service in both]
    )
    here, there = outcomes[::2], outcomes[1::2]
    winners = {claim.order_id: claim.customer_id for claim in of_type(outcomes, Claim)}
    assert len(winners) == len(set(winners.values())) == UNITS
    assert await rows.owner_of() == winners
    assert await rows.left(sale.terms.sale_id) == 0
    # A double click across processes gets one answer, not two.
    assert [type(outcome) for outcome in here] == [type(outcome) for outcome in there]
    assert of_type(here, Claim) == of_type(there, Claim)
    assert {type(outcome) for outcome in outcomes} == {Claim, SoldOut}
    assert all(check.ok for check in await flash_sale.audit())


async def test_a_limit_of_one_never_admits_two(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=1_000)
    calls = [
        lambda service=service, customer=customer, key=key: service.claim(request(sale, customer, key))
        for customer in range(1, 301)
        for service, key in ((flash_sale, "a"), (other_flash_sale, "b"))
    ]
    outcomes = await all_at_once(calls)
    assert len(of_type(outcomes, Claim)) == len(of_type(outcomes, LimitReached)) == 300
    assert len(set((await rows.owner_of()).values())) == len(await rows.all(claims)) == 300
    assert {row.used for row in await rows.all(quotas)} == {1}
    assert await rows.left(sale.terms.sale_id) == 700


async def test_claims_releases_and_a_close_at_once_conserve_the_units(
    flash_sale: FlashSaleService, other_flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    held_sales = [await make_sale(units=40, limit=2) for _ in range(3)]
    made = of_type(
        await flash_sale.claim_many([request(sale, customer) for sale in held_sales for customer in range(1, 41)]),
        Claim,
    )
    assert len(made) == 120
    # Batches over several sales, in every order, from two relays that both got the same events.
    releases = [lambda part=made[n::10]: rows.release(*part) for n in range(10)] * 2
    both = (flash_sale, other_flash_sale)
    claiming = [
        lambda sale=sale, customer=customer: both[customer % 2].claim(request(sale, customer, "again"))
        for customer in range(1, 81)
        for sale in reversed(held_sales)
    ]
    closing = [lambda: other_flash_sale.close_sale(MERCHANT, held_sales[0].terms.sale_id)]
    outcomes = await all_at_once([*claiming[:60], *releases, *claiming[60:120], *closing, *claiming[120:]])
    assert sum(of_type(outcomes, int)) == 120
    assert not [outcome for outcome in outcomes if isinstance(outcome, AssertionError)]
    new = of_type(outcomes, Claim)
    found = await rows.all(claims)
    assert len(found) == 120 + len(new)
    for sale in held_sales:
        held = sum(row.quantity for row in found if row.sale_id == sale.terms.sale_id and row.released_ms is None)
        assert held + await rows.left(sale.terms.sale_id) == 40
    assert {check.verdict for check in await flash_sale.audit()} == {"holds"}
