"""From a quote to an order: once, at the price agreed, or not at all."""

from __future__ import annotations

from functools import partial

import pytest

from contexts.checkout.neighbours import POT, RARE, TEA
from contexts.checkout.placing_shop import HOME, PlacingShop, all_at_once, of_type
from doorbuster.contexts.checkout.model import Checkout, Delivery, PlaceRequest
from doorbuster.contexts.checkout.tables import carts, checkouts
from doorbuster.contracts.checkout import CartChanged, CartClosed, CartNotFound, DestinationMissing
from doorbuster.contracts.inventory import OutOfStock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal


async def test_a_guest_orders_what_is_in_the_cart(shop: PlacingShop):
    guest, shown = await shop.guest_cart((TEA, 2), (POT, 1))
    placed = await shop.place(guest, shown, note="ring twice\nplease")
    assert placed.stage == "placed"
    (row,) = await shop.rows(checkouts)
    assert (row.id, row.status, row.due_ms, row.attempt) == (placed.id, "placed", None, 1)
    cart = await shop.cart_row(shown.cart.id)
    assert (cart.status, cart.order_id) == ("ordered", placed.id)
    (order,) = shop.orders.all.values()
    assert order.id == placed.id
    assert order.total == placed.total == Money(2 * 1990 + 10_000, "CNY")
    assert [(line.sku_id, line.quantity) for line in order.lines] == [(TEA, 2), (POT, 1)]
    assert (order.destination, order.contact_email, order.note) == (HOME, "ann@example.org", "ring twice\nplease")
    assert {line.sku_id: line.quantity for line in shop.warehouse.all_holds[placed.id].lines} == {TEA: 2, POT: 1}
    await shop.sound()


async def test_the_same_key_gets_the_same_order_and_another_key_none(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    placed = await shop.place(who, shown, key="k")
    before = await shop.everything()
    assert (await shop.place(who, shown, key="k")).id == placed.id
    with pytest.raises(CartClosed) as closed:
        await shop.place(who, shown, key="other")
    assert closed.value.extra["order_id"] == placed.id
    with pytest.raises(IdempotencyKeyReused):
        await shop.place(who, shown, key="k", note="else")
    assert await shop.everything() == before


async def test_twenty_places_of_one_cart_are_one_order(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    outcomes = await all_at_once([lambda n=n: shop.place(who, shown, key=f"k{n % 2}") for n in range(20)])
    placed = of_type(outcomes, Checkout)
    assert {each.id for each in placed} == set(shop.orders.all)
    assert len(shop.orders.all) == len(await shop.rows(checkouts)) == 1
    assert len(placed) + len(of_type(outcomes, CartClosed)) == 20
    assert len(placed) == 10
    await shop.sound()


async def test_a_changed_price_is_asked_about_and_nothing_is_written(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    shop.shelf.reprice(TEA, 2990)
    shop.manual.advance(1001)
    before = await shop.everything()
    with pytest.raises(CartChanged) as changed:
        await shop.place(who, shown)
    assert await shop.everything() == before
    _cart, quote, _available = await shop.service.quote(who, shown.cart.id)
    assert changed.value.extra["quote"] == quote.fingerprint
    request = PlaceRequest(quote.fingerprint, "")
    placed = await shop.service.place(who, shown.cart.id, "k", request)
    assert placed.total == Money(2990, "CNY")


async def test_a_cart_that_was_changed_since_the_quote_is_not_ordered(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    await shop.service.set_quantity(who, shown.cart.id, TEA, 3)
    with pytest.raises(CartChanged):
        await shop.place(who, shown)
    assert not await shop.rows(checkouts)


async def test_an_order_needs_a_destination(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who, delivery=None)
    with pytest.raises(DestinationMissing):
        await shop.place(who, shown)
    assert not await shop.rows(checkouts)


async def test_nobody_orders_somebody_elses_cart(shop: PlacingShop):
    shown = await shop.filled(shop.customer())
    before = await shop.everything()
    with pytest.raises(CartNotFound):
        await shop.place(shop.customer(), shown)
    assert await shop.everything() == before


async def test_out_of_stock_opens_the_cart_again_and_frees_the_key(shop: PlacingShop):
    who = shop.customer()
    await shop.coupon(total_limit=5)
    shown = await shop.with_coupon(who, (TEA, 1), (RARE, 2))
    shop.warehouse.stock(RARE, 1)
    with pytest.raises(OutOfStock) as short:
        await shop.place(who, shown, key="k")
    assert short.value.extra["sku_ids"] == [str(RARE)]
    (row,) = await shop.rows(checkouts)
    assert (row.status, row.reason, row.reason_skus) == ("failed", "out-of-stock", f"[{RARE}]")
    assert (await shop.cart_row(shown.cart.id)).status == "open"
    assert not shop.orders.all
    await shop.sound()
    shop.warehouse.stock(RARE, 2)
    shown = await shop.service.cart(who, shown.cart.id)
    placed = await shop.place(who, shown, key="k")
    assert placed.stage == "placed"
    assert placed.id != row.id
    await shop.sound()


async def test_300_at_once_for_100_units(shop: PlacingShop):
    shop.warehouse.stock(RARE, 100)
    filled = [await shop.guest_cart((RARE, 1)) for _ in range(300)]
    outcomes = await all_at_once([lambda each=each: shop.place(*each) for each in filled])
    assert len(of_type(outcomes, Checkout)) == 100
    assert len(of_type(outcomes, OutOfStock)) == 200
    assert len(shop.orders.all) == 100
    rows = await shop.rows(checkouts)
    assert sorted(row.status for row in rows) == ["failed"] * 200 + ["placed"] * 100
    assert len(await shop.rows(carts, carts.c.status == "open")) == 200
    await shop.sound()


async def test_changing_and_placing_at_once_never_orders_what_was_not_quoted(shop: PlacingShop):
    for _ in range(5):
        who = shop.customer()
        shown = await shop.filled(who)
        cart_id, other = shown.cart.id, Delivery(HOME, None, "standard")
        await all_at_once(
            [
                partial(shop.place, who, shown),
                partial(shop.service.set_quantity, who, cart_id, TEA, 7),
                partial(shop.service.set_delivery, who, cart_id, other),
            ]
        )
    for order in shop.orders.all.values():
        assert [line.quantity for line in order.lines] == [1]
        assert order.contact_email == "ann@example.org"
    await shop.sound()


async def test_a_busy_neighbour_leaves_it_placing_and_the_sweeper_places_it(shop: PlacingShop):
    who = shop.customer()
    for neighbour in (shop.warehouse.ledger, shop.orders.ledger):
        neighbour.busy.append(Unavailable("away"))
        shown = await shop.filled(who)
        left = await shop.place(who, shown, key="k")
        assert left.status == "placing"
        assert (await shop.place(who, shown, key="k")).id == left.id
        assert await shop.built.saga.sweep() == 0
        shop.manual.advance(501)
        assert await shop.built.saga.sweep() == 1
        assert (await shop.service.checkout(who, left.id)).status == "placed"
        assert left.id in shop.orders.all
        await shop.sound()


async def test_a_checkout_is_seen_by_its_customer_and_support(shop: PlacingShop):
    who = shop.customer()
    placed = await shop.place(who, await shop.filled(who))
    for viewer in (who, Principal(5, "support"), Principal(6, "admin")):
        assert (await shop.service.checkout(viewer, placed.id)).status == "placed"
