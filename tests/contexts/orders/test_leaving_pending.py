"""Cancel, capture and expiry want the same order: one of them moves it, the others find it moved."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from contexts.orders.gate import all_at_once, of_type
from contexts.orders.ordering_shop import PAY_WITHIN_MS, PRICE, OrderingShop, cancelled_event, shopper
from doorbuster.contexts.orders import store
from doorbuster.contracts.orders import (
    Order,
    OrderCancelled,
    OrderNotCancellable,
    OrderNotFound,
    OrderPaid,
    RefundRequested,
)
from doorbuster.contracts.payments import PaymentCaptured
from doorbuster.kernel.errors import Unavailable

ORDERS = 25


async def test_cancelling_gives_the_goods_back_once_however_often(shop: OrderingShop) -> None:
    order_id = await shop.place()
    cancelled = await shop.service.cancel(shopper(), order_id)
    assert (cancelled.status, cancelled.history[-1].cause) == ("cancelled", "customer")
    assert (await shop.service.cancel(shopper(), order_id)).status == "cancelled"
    assert await shop.told() == [cancelled_event(order_id)]


async def test_cancelling_a_paid_order_gives_goods_and_money_back_once(shop: OrderingShop) -> None:
    order_id, payment = await shop.place_and_pay()
    assert (await shop.service.cancel(shopper(), order_id)).status == "refunding"
    assert (await shop.service.cancel(shopper(), order_id)).status == "refunding"
    assert (await shop.told())[1:] == [
        cancelled_event(order_id, was_paid=True),
        RefundRequested(order_id, payment.id, PRICE, "customer"),
    ]


async def test_an_order_can_be_cancelled_before_its_event_came(shop: OrderingShop) -> None:
    claim = shop.claim()
    assert (await shop.service.cancel(shopper(), claim.order_id)).status == "cancelled"
    assert len(await shop.told()) == 1


async def test_nobody_cancels_somebody_elses_order(shop: OrderingShop) -> None:
    order_id = await shop.place(customer_id=1)
    before = await shop.everything()
    with pytest.raises(OrderNotFound):
        await shop.service.cancel(shopper(2), order_id)
    assert await shop.everything() == before
    assert shop.desk.asked == []


async def test_goods_that_are_under_way_cannot_be_cancelled(shop: OrderingShop) -> None:
    order_id, _ = await shop.place_and_pay()
    await shop.database.write(
        lambda tx: store.move(
            tx, [order_id], "paid", "shipped", who="delivery", actor="t", cause="t", now_ms=shop.clock.now_ms()
        )
    )
    before = await shop.everything()
    with pytest.raises(OrderNotCancellable):
        await shop.service.cancel(shopper(), order_id)
    assert await shop.everything() == before


async def test_while_the_provider_cannot_be_asked_nothing_is_cancelled(shop: OrderingShop) -> None:
    order_id = await shop.place()
    shop.desk.silent.add(order_id)
    before = await shop.everything()
    with pytest.raises(Unavailable):
        await shop.service.cancel(shopper(), order_id)
    assert await shop.everything() == before


async def test_money_that_is_in_but_not_announced_yet_is_not_cancelled_away(shop: OrderingShop) -> None:
    order_id = await shop.place()
    captured = shop.desk.capture(shop.desk.open(order_id))
    with pytest.raises(OrderNotCancellable):
        await shop.service.cancel(shopper(), order_id)
    await shop.deliver(captured)
    assert (await shop.service.cancel(shopper(), order_id)).status == "refunding"


async def test_a_capture_between_the_providers_answer_and_the_move_wins_and_the_shopper_is_told(
    shop: OrderingShop,
) -> None:
    order_id = await shop.place()
    captured = shop.desk.capture(late := shop.desk.open(order_id))
    shop.desk.status[late.id] = "pending"  # the answer is given before the money comes in
    shop.desk.while_closing = lambda: shop.deliver(captured)
    with pytest.raises(OrderNotCancellable):
        await shop.service.cancel(shopper(), order_id)
    assert await shop.status(order_id) == "paid"
    assert [type(event) for event in await shop.told()] == [OrderPaid]


async def test_a_shipment_between_the_look_and_the_move_wins_and_the_shopper_is_told(
    shop: OrderingShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id, _ = await shop.place_and_pay()
    stale = await shop.service.order(shopper(), order_id)
    await shop.database.write(
        lambda tx: store.move(
            tx, [order_id], "paid", "shipped", who="delivery", actor="t", cause="t", now_ms=shop.clock.now_ms()
        )
    )

    async def as_seen_before(_who: object, _order_id: int) -> Order:
        return stale

    monkeypatch.setattr(shop.service, "order", as_seen_before)
    with pytest.raises(OrderNotCancellable):
        await shop.service.cancel(shopper(), order_id)
    assert [type(event) for event in await shop.told()] == [OrderPaid]


async def test_cancel_against_capture_has_one_winner_and_the_loser_is_made_good(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(ORDERS)
    captures = {order_id: shop.desk.open(order_id) for order_id in order_ids}

    def capture(order_id: int) -> Callable[[], Awaitable[None]]:
        # Money that comes in although the provider had said it would not: the worst that can be delivered.
        event = PaymentCaptured(captures[order_id].id, order_id, PRICE, shop.clock.now_ms())
        return lambda: shop.deliver(event)

    cancels = [lambda order_id=order_id: shop.service.cancel(shopper(), order_id) for order_id in order_ids]
    outcomes = await all_at_once(jittered([*cancels, *(capture(order_id) for order_id in order_ids)]))
    for order_id, outcome in zip(order_ids, outcomes, strict=False):
        told = [type(event) for event in await shop.told(order_id)]
        history = [to for _, to, _, _ in await shop.history(order_id)]
        if history[1] == "cancelled":
            assert isinstance(outcome, Order)
            assert history == ["pending_payment", "cancelled", "refunding"]
            assert told == [OrderCancelled, RefundRequested]
        elif isinstance(outcome, OrderNotCancellable):
            assert history == ["pending_payment", "paid"]
            assert told == [OrderPaid]
        else:  # it looked when the order was paid already: a paid order is cancelled with its money
            assert history == ["pending_payment", "paid", "refunding"]
            assert told == [OrderPaid, OrderCancelled, RefundRequested]


async def test_expiry_against_capture_has_one_winner_and_the_loser_is_made_good(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(ORDERS)
    payments = [shop.desk.open(order_id) for order_id in order_ids]
    events = [PaymentCaptured(payment.id, payment.order_id, PRICE, 0) for payment in payments]
    shop.clock.advance(2 * PAY_WITHIN_MS)
    calls = [lambda event=event: shop.deliver(event) for event in events]
    await all_at_once(jittered([*calls[:12], shop.expiry.sweep, *calls[12:], shop.expiry.sweep]))
    for order_id in order_ids:
        told = [type(event) for event in await shop.told(order_id)]
        history = [to for _, to, _, _ in await shop.history(order_id)]
        assert (history, told) in (
            (["pending_payment", "paid"], [OrderPaid]),
            (["pending_payment", "cancelled", "refunding"], [OrderCancelled, RefundRequested]),
        )


async def test_cancel_against_expiry_gives_the_goods_back_once(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(ORDERS)
    shop.clock.advance(2 * PAY_WITHIN_MS)
    cancels = [lambda order_id=order_id: shop.service.cancel(shopper(), order_id) for order_id in order_ids]
    sweeps = [shop.expiry.sweep] * 3
    outcomes = await all_at_once(jittered([*cancels, *sweeps]))
    assert {order.status for order in of_type(outcomes, Order)} == {"cancelled"}
    assert len(of_type(outcomes, Order)) == ORDERS
    for order_id in order_ids:
        assert [to for _, to, _, _ in await shop.history(order_id)] == ["pending_payment", "cancelled"]
        (cancelled,) = await shop.told(order_id)
        assert isinstance(cancelled, OrderCancelled)
        assert cancelled.cause == (await shop.history(order_id))[-1][3]


async def test_twenty_cancellers_of_one_paid_order_ask_for_the_money_once(shop: OrderingShop) -> None:
    order_id, payment = await shop.place_and_pay()
    outcomes = await all_at_once([lambda: shop.service.cancel(shopper(), order_id)] * 20)
    assert {order.status for order in of_type(outcomes, Order)} == {"refunding"}
    assert len(of_type(outcomes, Order)) == 20
    assert (await shop.told())[1:] == [
        cancelled_event(order_id, was_paid=True),
        RefundRequested(order_id, payment.id, PRICE, "customer"),
    ]


def jittered(calls: list[Callable[[], Awaitable[object]]]) -> list[Callable[[], Awaitable[object]]]:
    """Each a little later than the gate, by seeded dice: otherwise a single writer would always see one order."""
    dice = random.Random(7)

    def late(call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        by_s = dice.random() * 0.02

        async def wait_and_call() -> object:
            await asyncio.sleep(by_s)
            return await call()

        return wait_and_call

    return [late(call) for call in calls]
