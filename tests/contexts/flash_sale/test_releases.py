"""Releases: units go back to their sales and quota to its customers, in one batch as one after the other."""

from __future__ import annotations

from contexts.flash_sale.conftest import MERCHANT, MakeSale, Rows, request
from contexts.orders.gate import of_type
from doorbuster.contexts.flash_sale import store
from doorbuster.contexts.flash_sale.model import GIVE_BACKS_MAX
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import claims, quotas
from doorbuster.contracts.flash_sale import Claim
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.database import Database


async def test_a_batch_gives_quota_back_at_most_three_times_the_oldest_claims_first(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=100, limit=100)
    made = [await flash_sale.claim(request(sale, 1, f"k{n}", quantity)) for n, quantity in enumerate((1, 2, 4, 8, 16))]
    assert await rows.release(*reversed(made)) == 5
    (quota,) = await rows.all(quotas)
    assert (quota.used, quota.given_back) == (8 + 16, GIVE_BACKS_MAX)
    assert await rows.left(sale.terms.sale_id) == 100
    assert {check.verdict for check in await flash_sale.audit()} == {"holds"}


async def test_a_batch_over_several_sales_and_customers_touches_only_its_own(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    held_sales = [await make_sale(units=10, limit=2) for _ in range(3)]
    made = of_type(
        await flash_sale.claim_many([request(sale, customer) for sale in held_sales for customer in range(1, 6)]), Claim
    )
    given_up = made[::2]
    assert await rows.release(*given_up) == len(given_up) == 8
    released = {row.order_id for row in await rows.all(claims, claims.c.released_ms.is_not(None))}
    assert released == {claim.order_id for claim in given_up}
    assert sum([await rows.left(sale.terms.sale_id) for sale in held_sales]) == 30 - 15 + 8
    assert sum(row.used for row in await rows.all(quotas)) == 15 - 8
    told = [row.aggregate_id for row in await rows.all(outbox, outbox.c.type == "flash_sale.units-released")]
    assert told == sorted(released)


async def test_the_same_claim_twice_in_a_batch_or_again_later_is_released_once(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    claim = await flash_sale.claim(request(await make_sale(units=3), 1))
    assert await rows.release(claim, claim) == 1
    before = await rows.everything()
    assert await rows.release(claim) == 0
    assert await rows.everything() == before


async def test_orders_that_were_never_claimed_release_nothing(
    flash_sale: FlashSaleService, database: Database, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=3)
    before = await rows.everything()
    released = await database.write(lambda tx: store.release(tx, [(404, sale.terms.sale_id), (405, 406)], 1))
    assert released == []
    assert await rows.everything() == before


async def test_a_release_raises_the_version_also_after_the_close(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=3)
    claim = await flash_sale.claim(request(sale, 1))
    await flash_sale.close_sale(MERCHANT, sale.terms.sale_id)
    view = await flash_sale.sale(sale.terms.sale_id)
    version = view.allotment.version
    await rows.release(claim)
    await flash_sale.live.refresh()
    assert (view.allotment.version, view.allotment.left) == (version + 1, 3)
