"""What checkout places is an order: once per id, in batches, with its lines, its first move and its event."""

from __future__ import annotations

import msgspec
import pytest

from contexts.orders.gate import all_at_once
from contexts.orders.ordering_shop import HOME, MERCHANT, PAY_WITHIN_MS, PRICE, OrderingShop, shopper
from doorbuster.contexts.orders.model import DraftInvalid
from doorbuster.contexts.orders.service import PAYMENT_GRACE_MS
from doorbuster.contexts.orders.tables import lines, moves, orders
from doorbuster.contracts.orders import (
    DestinationFixed,
    Order,
    OrderNotFound,
    OrderNotPayable,
    OrderPlaced,
)
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal

TOTAL = Money(2 * 1990 + 500 + 300, "CNY")
SELLER, RIVAL = Principal(MERCHANT, "merchant"), Principal(MERCHANT + 1, "merchant")


async def test_a_draft_becomes_an_order_with_all_it_says(shop: OrderingShop):
    draft = shop.draft(discount=80)
    (order,) = await shop.service.place_many([draft])
    assert isinstance(order, Order)
    assert (order.total, order.status, order.destination) == (Money(4700, "CNY"), "pending_payment", HOME)
    row = await shop.row(draft.id)
    assert (row.total_amount, row.shipping_amount, row.discount_amount, row.refunded_amount) == (4700, 300, 80, 0)
    assert (row.merchant_id, row.sale_id, row.fulfilment, row.note) == (MERCHANT, None, "parcel", "ring twice")
    assert [(line.n, line.sku_id, line.quantity) for line in await shop.rows(lines)] == [(1, 9, 2), (2, 10, 1)]
    assert await shop.history(draft.id) == [(None, "pending_payment", "checkout", "placed")]
    assert await shop.told() == [OrderPlaced(draft.id, 1, MERCHANT, order.total)]
    assert await shop.service.order(shopper(), draft.id) == msgspec.structs.replace(
        order, history=(await shop.service.order(shopper(), draft.id)).history
    )
    assert (await shop.checks())["order total = sum of its lines"].verdict == "holds"


async def test_fifty_drafts_each_placed_by_four_at_once_make_fifty_orders(shop: OrderingShop):
    drafts = [shop.draft() for _ in range(50)]
    outcomes = await all_at_once([lambda draft=draft: shop.service.place_many([draft, draft]) for draft in drafts * 4])
    assert all(isinstance(order, Order) for outcome in outcomes for order in outcome)  # type: ignore[union-attr]
    assert {row.id for row in await shop.rows(orders)} == {draft.id for draft in drafts}
    assert len(await shop.rows(orders)) == len(await shop.rows(moves)) == len(await shop.told()) == 50
    assert len(await shop.rows(lines)) == 100


async def test_placing_again_shows_what_became_of_the_order(shop: OrderingShop):
    draft = shop.draft()
    await shop.service.place_many([draft])
    await shop.service.cancel(shopper(), draft.id)
    before = await shop.everything()
    (order,) = await shop.service.place_many([draft])
    assert isinstance(order, Order)
    assert order.status == "cancelled"
    assert await shop.everything() == before


async def test_one_bad_draft_fails_alone(shop: OrderingShop):
    good, bad = shop.draft(), msgspec.structs.replace(shop.draft(), lines=())
    placed, refused = await shop.service.place_many([good, bad])
    assert isinstance(placed, Order)
    assert isinstance(refused, DraftInvalid)
    assert [row.id for row in await shop.rows(orders)] == [good.id]


async def test_a_draft_that_would_cost_less_than_nothing_is_refused(shop: OrderingShop):
    (refused,) = await shop.service.place_many([shop.draft(discount=TOTAL.amount + 1)])
    assert isinstance(refused, DraftInvalid)
    assert await shop.rows(orders) == []


async def test_units_stay_held_while_an_order_is_paid(shop: OrderingShop):
    draft = shop.draft()
    await shop.service.place_many([draft])
    await shop.service.pay(shopper(), draft.id, "k", TOTAL)
    assert shop.warehouse.kept == {draft.id: draft.pay_by_ms + PAYMENT_GRACE_MS}


async def test_an_order_whose_units_are_gone_cannot_be_paid(shop: OrderingShop):
    draft = shop.draft()
    await shop.service.place_many([draft])
    shop.warehouse.gone.add(draft.id)
    with pytest.raises(OrderNotPayable):
        await shop.service.pay(shopper(), draft.id, "k", TOTAL)
    assert shop.desk.of_key == {}


async def test_a_guest_has_an_order_like_anybody_else_and_nobody_elses(shop: OrderingShop):
    draft = shop.draft(customer_id=4711)
    await shop.service.place_many([draft])
    guest, other = Principal(4711, "guest"), Principal(4712, "guest")
    assert (await shop.service.order(guest, draft.id)).id == draft.id
    for stranger in (other, shopper(1), RIVAL, Principal(0, "guest")):
        with pytest.raises(OrderNotFound):
            await shop.service.order(stranger, draft.id)
        with pytest.raises(OrderNotFound):
            await shop.service.change_destination(stranger, draft.id, HOME)
    assert (await shop.service.order(SELLER, draft.id)).id == draft.id, "the merchant fulfils it"
    with pytest.raises(OrderNotFound):
        await shop.service.change_destination(SELLER, draft.id, HOME)


async def test_a_merchant_lists_what_is_theirs_to_fulfil(shop: OrderingShop):
    paid = [(await shop.ordered())[0].id for _ in range(3)]
    await shop.service.place_many([shop.draft()])
    page = await shop.service.orders_to_fulfil(SELLER, None, "paid", None, 2)
    assert [order.id for order in page.items] == paid[:0:-1]
    rest = await shop.service.orders_to_fulfil(SELLER, None, "paid", page.next_after, 2)
    assert [order.id for order in rest.items] == paid[:1]
    assert (await shop.service.orders_to_fulfil(RIVAL, None, "paid", None, 9)).items == []
    with pytest.raises(Forbidden):
        await shop.service.orders_to_fulfil(RIVAL, MERCHANT, "paid", None, 9)
    support = Principal(5, "support")
    assert len((await shop.service.orders_to_fulfil(support, MERCHANT, "paid", None, 9)).items) == 3


async def test_the_destination_can_be_changed_until_the_order_is_sent_off(shop: OrderingShop):
    order, _ = await shop.ordered()
    work = msgspec.structs.replace(HOME, street="Work 1")
    assert (await shop.service.change_destination(shopper(), order.id, work)).destination == work
    await shop.service.send_off(order.id, "delivery", "shipment 1")
    before = await shop.everything()
    with pytest.raises(DestinationFixed):
        await shop.service.change_destination(shopper(), order.id, HOME)
    assert await shop.everything() == before


async def test_an_unpaid_order_is_given_up_by_checkout_and_a_paid_one_is_not(shop: OrderingShop):
    unpaid = shop.draft()
    await shop.service.place_many([unpaid])
    paid, _ = await shop.ordered()
    assert (await shop.service.cancel_unpaid(unpaid.id, "checkout-failed")).status == "cancelled"  # type: ignore[union-attr]
    assert (await shop.service.cancel_unpaid(paid.id, "checkout-failed")).status == "paid"  # type: ignore[union-attr]
    assert await shop.service.cancel_unpaid(404, "checkout-failed") is None
    assert (await shop.history(unpaid.id))[-1] == ("pending_payment", "cancelled", "checkout", "checkout-failed")


async def test_the_claim_of_a_sale_knows_its_merchant(shop: OrderingShop):
    order_id = await shop.place()
    row = await shop.row(order_id)
    assert (row.merchant_id, row.fulfilment, row.pay_by_ms - row.created_ms) == (MERCHANT, "parcel", PAY_WITHIN_MS)
    assert (await shop.service.find_many([order_id]))[0].total == PRICE
