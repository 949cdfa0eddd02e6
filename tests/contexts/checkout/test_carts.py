"""Carts: bounded, of one owner and one merchant, and never the loser of a race between two changes."""

from __future__ import annotations

from functools import partial

import pytest
from msgspec.structs import replace

from contexts.checkout.neighbours import DOLLARS, GONE, MERCHANT, POT, RARE, TEA, THEIRS
from contexts.checkout.placing_shop import DELIVERY, HOME, SELLER, PlacingShop, all_at_once, build_shop, of_type
from contexts.deadlocks import deadlocks
from doorbuster.contexts.checkout.model import CartLine, Content, Delivery, NewCart, ShippingMethod, Shown, merged
from doorbuster.contexts.checkout.tables import carts
from doorbuster.contexts.checkout.writing import Change, commit_batch
from doorbuster.contracts.checkout import (
    CART_LINES_MAX,
    LINE_QUANTITY_MAX,
    AnotherMerchant,
    CartClosed,
    CartFull,
    CartNotFound,
    DestinationMissing,
    NotForSale,
    ShippingMethodNotFound,
    TooManyCarts,
    TotalTooLarge,
)
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import AMOUNT_MAX, CurrencyMismatch
from doorbuster.kernel.places import Destination
from doorbuster.kernel.principal import Principal
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Tx

NOWHERE = Destination("Ann", "+86 555 0100", "CN", "", "Hangzhou", "1 Lake Road", "")


@pytest.mark.parametrize(
    ("lines", "refusal"),
    [
        ([(GONE, 1)], NotForSale),
        ([(404, 1)], NotForSale),
        ([(TEA, 1), (THEIRS, 1)], AnotherMerchant),
        ([(TEA, 1), (DOLLARS, 1)], CurrencyMismatch),
        ([(TEA, LINE_QUANTITY_MAX), (TEA, 1)], CartFull),
    ],
)
async def test_what_a_cart_does_not_take(shop: PlacingShop, lines: list[tuple[int, int]], refusal: type[ShopError]):
    with pytest.raises(refusal):
        await shop.filled(shop.customer(), *lines)
    assert not await shop.rows(carts)


async def test_an_emptied_cart_may_be_filled_from_another_merchant(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    at = shown.cart.id
    with pytest.raises(AnotherMerchant):
        await shop.service.set_quantity(who, at, THEIRS, 1)
    await shop.service.remove_line(who, at, TEA)
    shown = await shop.service.set_quantity(who, at, THEIRS, 1)
    assert [line.sku_id for line in shown.cart.content.lines] == [THEIRS]


async def test_changes_at_once_are_all_in_the_cart(shop: PlacingShop):
    who = shop.customer()
    at = (await shop.filled(who)).cart.id
    changes = [
        partial(shop.service.set_quantity, who, at, TEA, 5),
        partial(shop.service.set_quantity, who, at, POT, 6),
        partial(shop.service.set_quantity, who, at, RARE, 7),
        partial(shop.service.set_delivery, who, at, Delivery(HOME, "bob@example.org", "standard")),
    ]
    assert len(of_type(await all_at_once(changes), Shown)) == 4
    cart = (await shop.service.cart(who, at)).cart
    assert {line.sku_id: line.quantity for line in cart.content.lines} == {TEA: 5, POT: 6, RARE: 7}
    assert cart.content.contact_email == "bob@example.org"
    assert cart.version == 5


async def test_two_processes_change_one_cart(shop: PlacingShop, tmp_path):
    """What one remembers, the other has changed: nothing is lost, and the second look is enough."""
    other = build_shop(shop.platform, shop.clock, shop.database, tmp_path)
    who = shop.customer()
    at = (await shop.filled(who)).cart.id
    for n in range(1, 6):
        await shop.service.set_quantity(who, at, TEA, n)
        await other.service.set_quantity(who, at, POT, n)
    cart = (await shop.service.cart(who, at)).cart
    assert {line.sku_id: line.quantity for line in cart.content.lines} == {TEA: 5, POT: 5}
    placed = await shop.place(who, await shop.service.cart(who, at))
    with pytest.raises(CartClosed):
        await other.service.set_quantity(who, at, POT, 9)
    assert placed.stage == "placed"
    await other.built.close()


async def test_the_same_key_is_the_same_cart(shop: PlacingShop):
    who = shop.customer()
    new = NewCart((CartLine(TEA, 1),), DELIVERY)
    outcomes = await all_at_once([partial(shop.service.create, who, "k", new)] * 10)
    assert len({shown.cart.id for shown in of_type(outcomes, Shown)}) == len(await shop.rows(carts)) == 1
    with pytest.raises(IdempotencyKeyReused):
        await shop.service.create(who, "k", NewCart((CartLine(TEA, 2),), DELIVERY))
    assert (await shop.service.create(shop.customer(), "k", new)).cart.owner_id != who.account_id


async def test_open_carts_are_bounded(shop: PlacingShop):
    who = shop.customer()
    for n in range(10):
        await shop.service.create(who, f"k{n}", NewCart())
    with pytest.raises(TooManyCarts):
        await shop.service.create(who, "another", NewCart())
    assert (await shop.service.create(who, "k3", NewCart())).cart.owner_id == who.account_id
    assert len(await shop.rows(carts)) == 10


async def test_shipping_is_charged_as_laid_down(shop: PlacingShop):
    method = ShippingMethod(MERCHANT, "express", "Express", "parcel", "CNY", 500, 10, 5000)
    await shop.service.terms.put_method(SELLER, method)
    who = shop.customer()
    delivery = Delivery(HOME, None, "express")
    dear = await shop.filled(who, (TEA, 2), delivery=delivery)
    free = await shop.filled(who, (TEA, 3), delivery=delivery)
    assert dear.quote is not None
    assert free.quote is not None
    assert (dear.quote.shipping, free.quote.shipping) == (520, 0)
    with pytest.raises(ShippingMethodNotFound):
        await shop.filled(who)
    placed = await shop.place(who, dear)
    assert shop.orders.all[placed.id].shipping.amount == 520


async def test_takeout_needs_a_place_on_the_map(shop: PlacingShop):
    await shop.service.terms.put_method(SELLER, ShippingMethod(MERCHANT, "bike", "Bike", "takeout"))
    who = shop.customer()
    shown = await shop.filled(who, delivery=Delivery(NOWHERE, None, "bike"))
    with pytest.raises(DestinationMissing):
        await shop.place(who, shown)
    shown = await shop.service.set_delivery(who, shown.cart.id, Delivery(HOME, None, "bike"))
    placed = await shop.place(who, shown)
    assert shop.orders.all[placed.id].fulfilment == "takeout"


async def test_a_sum_that_no_order_can_have(shop: PlacingShop):
    shop.shelf.reprice(TEA, AMOUNT_MAX)
    who = shop.customer()
    shown = await shop.filled(who, (TEA, 2))
    assert shown.quote is None
    with pytest.raises(TotalTooLarge):
        await shop.service.quote(who, shown.cart.id)


async def test_what_is_withdrawn_cannot_be_ordered(shop: PlacingShop):
    who = shop.customer()
    shown = await shop.filled(who)
    del shop.shelf.facts[TEA]
    shop.manual.advance(1001)
    with pytest.raises(NotForSale) as gone:
        await shop.place(who, shown)
    assert gone.value.extra["sku_ids"] == [str(TEA)]


async def test_a_guests_cart_goes_into_the_customers(shop: PlacingShop):
    who = shop.customer()
    mine = await shop.filled(who, (TEA, LINE_QUANTITY_MAX - 1))
    guest, theirs = await shop.guest_cart((TEA, 5), (POT, 2))
    _guest_too, elsewhere = await shop.guest_cart((THEIRS, 1))
    done, open_carts = await shop.service.merge(who, "m", guest)
    assert done.left_out == (CartLine(TEA, 4),)
    assert [cart.id for cart in open_carts] == [mine.cart.id]
    units = {line.sku_id: line.quantity for line in open_carts[0].content.lines}
    assert units == {TEA: LINE_QUANTITY_MAX, POT: 2}
    assert (await shop.cart_row(theirs.cart.id)).status == "merged"
    assert (await shop.cart_row(elsewhere.cart.id)).status == "open"
    before = await shop.everything()
    assert await shop.service.merge(who, "m", guest) == (done, open_carts)
    again, _ = await shop.service.merge(who, "m2", guest)
    assert again.cart_ids == ()
    assert await shop.everything() == before
    with pytest.raises(CartClosed):
        await shop.service.set_quantity(guest, theirs.cart.id, TEA, 1)
    shown = await shop.service.set_quantity(who, mine.cart.id, TEA, 1)
    assert {line.sku_id: line.quantity for line in shown.cart.content.lines} == {TEA: 1, POT: 2}


async def test_a_cart_of_another_merchant_changes_hands(shop: PlacingShop):
    who = shop.customer()
    mine = await shop.filled(who)
    guest, theirs = await shop.guest_cart((THEIRS, 1))
    await shop.service.merge(who, "m", guest)
    row = await shop.cart_row(theirs.cart.id)
    assert (row.owner_id, row.status, row.key) == (who.account_id, "open", None)
    with pytest.raises(CartNotFound):
        await shop.service.set_quantity(guest, theirs.cart.id, THEIRS, 2)
    assert {cart.id for cart in await shop.service.carts(who)} == {mine.cart.id, theirs.cart.id}


async def test_merging_at_once_counts_once(shop: PlacingShop):
    who = shop.customer()
    mine = await shop.filled(who, (TEA, 1))
    guest, _theirs = await shop.guest_cart((TEA, 5))
    await all_at_once([partial(shop.service.merge, who, f"m{n}", guest) for n in range(8)])
    cart = (await shop.service.cart(who, mine.cart.id)).cart
    assert cart.content.lines == (CartLine(TEA, 6),)


async def test_merging_and_placing_at_once(shop: PlacingShop):
    """The guest's cart is ordered or merged, never both."""
    for n in range(5):
        who = shop.customer()
        await shop.filled(who, (POT, 1))
        guest, theirs = await shop.guest_cart((TEA, 5))
        await all_at_once([partial(shop.place, guest, theirs), partial(shop.service.merge, who, f"m{n}", guest)])
        (cart,) = await shop.service.carts(who)
        ordered = (await shop.cart_row(theirs.cart.id)).status == "ordered"
        assert ordered == (cart.content.lines == (CartLine(POT, 1),))
    await shop.sound()


async def test_merging_while_both_carts_are_changed_in_one_batch_waits_in_no_circle(
    shop: PlacingShop, other_shop: PlacingShop, database_settings: DatabaseSettings
):
    """The customer's cart is younger than the guest's. What the batches want is out of date, but locks all the same."""
    before = await deadlocks(database_settings.url)
    for n in range(12):
        who = shop.customer()
        guest, older = await shop.guest_cart((TEA, 1))
        mine = await shop.filled(who, (POT, 1))
        stale = [Change(replace(each.cart, version=99)) for each in (older, mine)]

        def batch(tx: Tx, stale: list[Change] = stale) -> object:
            return commit_batch(tx, stale, shop.clock.now_ms())

        merges = [partial(shop.service.merge, who, f"m{n}", guest)] * 2
        outcomes = await all_at_once([partial(other_shop.database.write, batch)] * 4 + merges)  # type: ignore[operator]
        assert [each for each in outcomes if isinstance(each, Exception)] == []
        assert (await shop.cart_row(older.cart.id)).status == "merged"
        cart = (await shop.service.cart(who, mine.cart.id)).cart
        assert {line.sku_id: line.quantity for line in cart.content.lines} == {POT: 1, TEA: 1}
    for each in (shop, other_shop):
        await each.database.close()
    assert await deadlocks(database_settings.url, after_all=True) == before


def test_merging_keeps_within_the_lines():
    full = Content(MERCHANT, "CNY", tuple(CartLine(n, 1) for n in range(1, CART_LINES_MAX + 1)))
    content, left_out = merged(full, Content(MERCHANT, "CNY", (CartLine(1, 4), CartLine(99, 2))))
    assert len(content.lines) == CART_LINES_MAX
    assert content.lines[0] == CartLine(1, 5)
    assert left_out == [CartLine(99, 2)]


async def test_idle_carts_are_deleted_and_the_others_stay(shop: PlacingShop):
    who = shop.customer()
    old, touched = await shop.filled(who), await shop.filled(who)
    shop.manual.advance(40 * 86_400_000)
    await shop.service.set_quantity(who, touched.cart.id, TEA, 2)
    shop.manual.advance(-shop.clock.now_ms() + 2_000_000_000_000)
    await shop.service.set_quantity(who, touched.cart.id, TEA, 3)
    await shop.built.purge.sweep()
    assert [row.id for row in await shop.rows(carts)] == [touched.cart.id]
    with pytest.raises(CartNotFound):
        await shop.service.cart(who, old.cart.id)


async def test_nobody_sees_somebody_elses_carts(shop: PlacingShop):
    who = shop.customer()
    await shop.filled(who)
    for other in (shop.customer(), Principal(1, "guest")):
        assert not await shop.service.carts(other)
