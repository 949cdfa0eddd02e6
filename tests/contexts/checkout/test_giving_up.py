"""Orders have the last word: no order is alive whose units were let go."""

from __future__ import annotations

import pytest

from contexts.checkout.neighbours import TEA, order_of
from contexts.checkout.placing_shop import PlacingShop
from doorbuster.contexts.checkout.saga import LEASE_MS, WATCH_MS
from doorbuster.contexts.checkout.tables import checkouts
from doorbuster.contracts.checkout import CheckoutFailed
from doorbuster.contracts.inventory import HoldReleased
from doorbuster.kernel.errors import Unavailable

LIMIT_MS = 30_000


async def test_a_driver_that_was_believed_dead_takes_its_order_back(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    swept: list[int] = []

    async def sleep_for_a_minute() -> None:
        """The driver stands still before its order is written, and a sweeper gives the checkout up."""
        if shop.orders.ledger.calls[-1] == "place":
            shop.orders.ledger.before = None
            shop.manual.advance(60_000)
            swept.append(await shop.built.saga.sweep())

    shop.orders.ledger.before = sleep_for_a_minute
    with pytest.raises(CheckoutFailed):
        await shop.place(who, shown)
    assert swept == [1]
    (row,) = await shop.rows(checkouts)
    assert row.status == "failed"
    assert [order.status for order in shop.orders.all.values()] == ["cancelled"]
    assert [hold.status for hold in shop.warehouse.all_holds.values()] == ["released"]
    assert (await shop.cart_row(shown.cart.id)).status == "open"


async def given_up(shop: PlacingShop):
    """A failed checkout whose order was not there."""
    who = shop.customer()
    shop.orders.ledger.busy.append(Unavailable("away"))
    left = await shop.place(who, await shop.filled(who))
    shop.manual.advance(LIMIT_MS + 501)
    assert await shop.built.saga.sweep() == 1
    assert (await shop.service.checkout(who, left.id)).status == "failed"
    return who, left


async def test_an_order_that_comes_after_all_is_cancelled_later(shop: PlacingShop):
    _who, left = await given_up(shop)
    shop.orders.ledger.put("order", left.id, order_of(left.draft))
    assert await shop.built.saga.sweep() == 0
    shop.manual.advance(WATCH_MS + 1)
    assert await shop.built.saga.sweep() == 1
    assert shop.orders.all[left.id].status == "cancelled"
    assert await shop.built.saga.sweep() == 0
    await shop.sound()


async def test_an_order_that_comes_after_all_and_is_paid_stays(shop: PlacingShop):
    who, left = await given_up(shop)
    shop.orders.ledger.put("order", left.id, order_of(left.draft))
    shop.orders.settle(left.id, "paid")
    shop.manual.advance(WATCH_MS + 1)
    assert await shop.built.saga.sweep() == 1
    assert (await shop.service.checkout(who, left.id)).status == "placed"
    assert shop.orders.all[left.id].status == "paid"


async def test_an_order_that_is_there_is_placed_however_late(shop: PlacingShop):
    """Step 4 was lost, and the shop was down for a day: the order has long been cancelled, as an order."""
    who = shop.customer()
    shop.orders.ledger.busy.append(Unavailable("away"))
    left = await shop.place(who, await shop.filled(who))
    shop.orders.ledger.put("order", left.id, order_of(left.draft))
    shop.orders.settle(left.id, "cancelled")
    shop.manual.advance(86_400_000)
    assert await shop.built.saga.sweep() == 1
    assert (await shop.service.checkout(who, left.id)).status == "placed"
    assert "release" not in shop.warehouse.ledger.calls


async def test_a_released_hold_fails_the_checkout(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    shop.warehouse.ledger.busy.append(Unavailable("away"))
    left = await shop.place(who, shown)
    await shop.warehouse.release_many([left.id])
    shop.manual.advance(LEASE_MS)
    assert await shop.built.saga.sweep() == 1
    (row,) = await shop.rows(checkouts)
    assert (row.status, row.reason) == ("failed", HoldReleased.slug)
    await shop.sound()


async def test_two_sweepers_share_the_work(shop: PlacingShop):
    who = shop.customer()
    for _ in range(5):
        shop.warehouse.ledger.busy.append(Unavailable("away"))
        await shop.place(who, await shop.filled(who, (TEA, 1)))
    shop.manual.advance(501)
    assert await shop.built.saga.sweep() + await shop.built.saga.sweep() == 5
    assert len(shop.orders.all) == 5
    await shop.sound()
