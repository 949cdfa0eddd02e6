"""The flash sale's own books: they hold for a busy shop, and name each planted corruption."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from contexts.flash_sale.conftest import MakeSale, Rows, request
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import allotments, claims, quotas, sales
from doorbuster.contracts.audit import Check
from doorbuster.contracts.flash_sale import Claim
from doorbuster.platform.sql.errors import RowRejected

UNITS, OVERSOLD, LIMITS, COUNTERS = (
    "units allotted = held + left",
    "nothing oversold",
    "no customer above the limit",
    "counters = units held",
)


async def checks(flash_sale: FlashSaleService) -> dict[str, Check]:
    return {check.name: check for check in await flash_sale.audit()}


async def a_busy_sale(flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows) -> Claim:
    """Customer 7 holds two of ten units, 8 one, and 9 gave back one four times; 7's claim."""
    sale = await make_sale(units=10, limit=2)
    claim = await flash_sale.claim(request(sale, 7, "k", 2))
    await flash_sale.claim(request(sale, 8))
    for n in range(4):
        await rows.release(await flash_sale.claim(request(sale, 9, f"k{n}")))
    await make_sale(units=5)
    return claim


async def test_the_books_of_a_busy_sale_hold(flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows) -> None:
    await a_busy_sale(flash_sale, make_sale, rows)
    assert {check.verdict for check in await flash_sale.audit()} == {"holds"}


CORRUPTIONS = {
    "a unit appears": (UNITS, sa.update(allotments).where(allotments.c.units == 10).values(units_left=8)),
    "a unit vanishes": (UNITS, sa.update(allotments).where(allotments.c.units == 10).values(units_left=6)),
    "units are added without being left": (
        UNITS,
        sa.update(allotments).where(allotments.c.units == 10).values(units=11),
    ),
    "a claim is lost": (UNITS, sa.delete(claims).where(claims.c.customer_id == 8)),
    "a claim comes back from release": (UNITS, sa.update(claims).where(claims.c.key == "k2").values(released_ms=None)),
    "a claim is released without its unit": (
        UNITS,
        sa.update(claims).where(claims.c.customer_id == 8).values(released_ms=1),
    ),
    "a claim grows": (UNITS, sa.update(claims).where(claims.c.customer_id == 8).values(quantity=2)),
    "a sale is gone": (UNITS, sa.delete(sales)),
    "an allotment is gone": (UNITS, sa.delete(allotments)),
    "more is held than there was": (OVERSOLD, sa.update(claims).where(claims.c.customer_id == 8).values(quantity=99)),
    "a claim for somebody at the limit": (
        LIMITS,
        sa.update(claims).where(claims.c.customer_id == 8).values(customer_id=7, key="z"),
    ),
    "a counter forgets": (COUNTERS, sa.update(quotas).where(quotas.c.customer_id == 7).values(used=0)),
    "a counter is gone": (COUNTERS, sa.delete(quotas).where(quotas.c.customer_id == 7)),
    "a counter counts too much": (COUNTERS, sa.update(quotas).where(quotas.c.customer_id == 8).values(used=2)),
    "a counter falls below what is held": (
        COUNTERS,
        sa.update(quotas).where(quotas.c.customer_id == 9).values(used=0, given_back=0),
    ),
    "a counter of somebody who never claimed": (
        COUNTERS,
        sa.update(quotas).where(quotas.c.customer_id == 8).values(customer_id=10),
    ),
    "give-backs are forgotten": (COUNTERS, sa.update(quotas).where(quotas.c.customer_id == 9).values(given_back=2)),
    "a counter has a limit of its own": (
        COUNTERS,
        sa.update(quotas).where(quotas.c.customer_id == 8).values(limit_per_customer=100),
    ),
}


@pytest.mark.parametrize("what", CORRUPTIONS)
async def test_each_planted_corruption_is_found_and_named(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows, what: str
) -> None:
    sale_id = (await a_busy_sale(flash_sale, make_sale, rows)).sale_id
    name, corruption = CORRUPTIONS[what]
    await rows.tamper(corruption)
    check = (await checks(flash_sale))[name]
    assert check.verdict == "broken"
    assert any(str(sale_id) in breach for breach in check.breaches), check.breaches


async def test_a_forged_counter_is_named_with_its_customer(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    claim = await a_busy_sale(flash_sale, make_sale, rows)
    await rows.tamper(
        sa.insert(quotas).values(sale_id=claim.sale_id, customer_id=55, used=1, limit_per_customer=2, given_back=0)
    )
    (breach,) = (await checks(flash_sale))[COUNTERS].breaches
    assert f"customer 55 in sale {claim.sale_id}" in breach


async def test_the_database_itself_refuses_to_oversell_or_to_exceed_a_limit(
    flash_sale: FlashSaleService, make_sale: MakeSale, rows: Rows
) -> None:
    await a_busy_sale(flash_sale, make_sale, rows)
    before = await rows.everything()
    for statement in (
        sa.update(allotments).values(units_left=allotments.c.units_left - 1000),
        sa.update(allotments).values(units_left=allotments.c.units + 1),
        sa.update(quotas).values(used=quotas.c.limit_per_customer + 1),
        sa.update(quotas).values(used=-1),
        sa.update(claims).values(quantity=0),
        sa.update(claims).where(claims.c.customer_id == 9).values(key="k0"),
    ):
        with pytest.raises(RowRejected):
            await rows.tamper(statement)
    assert await rows.everything() == before
