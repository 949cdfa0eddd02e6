"""Coupons: as often as they may be, counted with the order that has them, and given back once."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from contexts.checkout.neighbours import MERCHANT, RARE, RIVAL, TEA
from contexts.checkout.placing_shop import SELLER, PlacingShop, all_at_once, of_type
from doorbuster.contexts.checkout.model import Checkout, NewCoupon
from doorbuster.contexts.checkout.tables import coupon_uses, coupons, redemptions
from doorbuster.contracts.checkout import (
    CouponInvalid,
    CouponNotApplicable,
    CouponNotFound,
    CouponTaken,
    CouponUsedUp,
    NothingToPay,
)
from doorbuster.contracts.inventory import OutOfStock
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.principal import Principal


async def used(shop: PlacingShop) -> int:
    (row,) = await shop.rows(coupons)
    return row.used


async def test_fifty_buyers_share_five_coupons(shop: PlacingShop):
    await shop.coupon(total_limit=5)
    buyers = [shop.customer() for _ in range(50)]
    filled = [await shop.with_coupon(who, (TEA, 1)) for who in buyers]
    outcomes = await all_at_once(
        [lambda who=who, shown=shown: shop.place(who, shown) for who, shown in zip(buyers, filled, strict=True)]
    )
    assert len(of_type(outcomes, Checkout)) == len(await shop.rows(redemptions)) == await used(shop) == 5
    assert len(of_type(outcomes, CouponUsedUp)) == 45
    assert len(shop.orders.all) == 5
    await shop.sound()


async def test_buyers_at_two_processes_share_five_coupons(shop: PlacingShop, other_shop: PlacingShop):
    await shop.coupon(total_limit=5)
    buyers = [shop.customer() for _ in range(30)]
    filled = [await shop.with_coupon(who, (TEA, 1)) for who in buyers]
    at = [shop, other_shop]
    each = enumerate(zip(buyers, filled, strict=True))
    outcomes = await all_at_once([partial(at[n % 2].place, who, shown, f"k{n}") for n, (who, shown) in each])
    assert len(of_type(outcomes, Checkout)) == len(await shop.rows(redemptions)) == await used(shop) == 5
    assert len(of_type(outcomes, CouponUsedUp)) == 25
    await shop.sound()


async def test_one_customer_with_ten_carts_gets_two(shop: PlacingShop):
    await shop.coupon(customer_limit=2)
    who = shop.customer()
    filled = [await shop.with_coupon(who, (TEA, 1)) for _ in range(10)]
    outcomes = await all_at_once([lambda shown=shown: shop.place(who, shown) for shown in filled])
    assert len(of_type(outcomes, Checkout)) == 2
    assert len(of_type(outcomes, CouponUsedUp)) == 8
    (row,) = await shop.rows(coupon_uses)
    assert (row.used, row.customer_id) == (2, who.account_id)
    await shop.sound()


async def test_a_cancelled_order_gives_its_coupon_back_once(shop: PlacingShop):
    await shop.coupon(total_limit=1, customer_limit=1)
    who = shop.customer()
    placed = await shop.place(who, await shop.with_coupon(who))
    assert await used(shop) == 1
    await shop.cancel(placed.id, placed.id)
    await shop.cancel(placed.id)
    assert await used(shop) == 0
    again = await shop.place(who, await shop.with_coupon(who))
    assert await used(shop) == 1
    await shop.cancel(placed.id)
    assert await used(shop) == 1
    (first, second) = await shop.rows(redemptions)
    assert (first.given_back_ms is None, second.given_back_ms is None) == (False, True)
    assert {first.order_id, second.order_id} == {placed.id, again.id}
    await shop.sound()


async def test_a_failed_placing_gives_its_coupon_back(shop: PlacingShop):
    await shop.coupon(total_limit=1)
    who = shop.customer()
    with pytest.raises(OutOfStock):
        await shop.place(who, await shop.with_coupon(who, (RARE, 50)))
    assert await used(shop) == 0
    await shop.sound()


async def test_a_refused_coupon_leaves_cart_and_stock_alone(shop: PlacingShop):
    await shop.coupon(total_limit=1)
    first, second = shop.customer(), shop.customer()
    one, two = await shop.with_coupon(first), await shop.with_coupon(second)
    await shop.place(first, one)
    before = await shop.everything()
    with pytest.raises(CouponUsedUp):
        await shop.place(second, two)
    assert await shop.everything() == before


@pytest.mark.parametrize(
    ("terms", "off"),
    [
        ({}, 398),
        ({"percent": 33}, 1313),
        ({"kind": "amount", "percent": 0, "amount": 500}, 500),
        ({"minimum": 3980}, 398),
        ({"minimum": 3981}, None),
        ({"currency": "USD"}, None),
        ({"valid_to_ms": 1_790_000_000_000}, None),
        ({"valid_from_ms": 1_790_000_000_001}, None),
    ],
)
async def test_what_a_coupon_takes_off(shop: PlacingShop, terms: dict[str, Any], off: int | None):
    await shop.coupon(**terms)
    who = shop.customer()
    shown = await shop.with_coupon(who, (TEA, 2))
    if off is None:
        assert shown.quote is None
        with pytest.raises(CouponNotApplicable):
            await shop.service.quote(who, shown.cart.id)
    else:
        assert shown.quote is not None
        assert (shown.quote.discount, shown.quote.total) == (off, 3980 - off)


async def test_an_order_that_costs_nothing_is_no_order(shop: PlacingShop):
    await shop.coupon(percent=100)
    who = shop.customer()
    shown = await shop.with_coupon(who)
    with pytest.raises(NothingToPay):
        await shop.service.quote(who, shown.cart.id)


async def test_guests_use_coupons_that_are_not_counted_per_customer(shop: PlacingShop):
    await shop.coupon("FORALL", total_limit=9)
    await shop.coupon("ONCE", customer_limit=1)
    guest, shown = await shop.guest_cart()
    with_once = await shop.service.set_coupon(guest, shown.cart.id, "ONCE")
    assert with_once.quote is None
    with pytest.raises(CouponNotApplicable):
        await shop.service.quote(guest, shown.cart.id)
    placed = await shop.place(guest, await shop.service.set_coupon(guest, shown.cart.id, "FORALL"))
    assert placed.total.amount == 1990 - 199


async def test_whose_coupons_are_whose(shop: PlacingShop):
    await shop.coupon()
    who = shop.customer()
    theirs = await shop.filled(who, (14, 1))
    with pytest.raises(CouponNotFound):
        await shop.service.set_coupon(who, theirs.cart.id, "SAVE10")
    with pytest.raises(CouponTaken):
        await shop.coupon(percent=20)
    new = NewCoupon(code="X10", kind="percent", percent=10, currency="CNY", valid_from_ms=0, valid_to_ms=1)
    for stranger in (Principal(RIVAL, "merchant"), Principal(MERCHANT, "customer"), Principal(1, "support")):
        with pytest.raises(Forbidden):
            await shop.service.terms.create_coupon(stranger, MERCHANT, "k", new)
    assert len(await shop.rows(coupons)) == 1
    page = await shop.service.terms.coupons(SELLER, MERCHANT, None, 10)
    assert [coupon.code for coupon in page.items] == ["SAVE10"]


@pytest.mark.parametrize(
    "terms",
    [{"percent": 0}, {"percent": 101}, {"amount": 1}, {"kind": "amount"}, {"code": "no"}, {"valid_to_ms": 0}],
)
async def test_a_coupon_that_makes_no_sense_is_refused(shop: PlacingShop, terms: dict[str, Any]):
    with pytest.raises(CouponInvalid):
        await shop.coupon(**terms)
    assert not await shop.rows(coupons)
