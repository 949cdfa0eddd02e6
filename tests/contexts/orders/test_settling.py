"""Money that comes in pays its order, or goes back; each told once, however often it is said."""

from __future__ import annotations

import pytest

from contexts.orders.gate import all_at_once
from contexts.orders.ordering_shop import PAY_WITHIN_MS, PRICE, OrderingShop, paid_event, shopper
from doorbuster.contexts.orders.settling import OrderMissing
from doorbuster.contracts.orders import OrderCancelled, OrderPaid, OrderRefunded, RefundRequested
from doorbuster.contracts.payments import PaymentCaptured, PaymentRefunded
from doorbuster.kernel.money import Money


async def test_a_capture_pays_the_order(shop: OrderingShop) -> None:
    order_id, payment = await shop.place_and_pay()
    row = await shop.row(order_id)
    assert (row.status, row.payment_id) == ("paid", payment.id)
    assert (await shop.history(order_id))[1:] == [("pending_payment", "paid", "payments", f"payment {payment.id}")]
    assert await shop.told() == [paid_event(order_id, payment.id)]


async def test_a_redelivered_capture_changes_nothing_known_to_the_inbox_or_not(shop: OrderingShop) -> None:
    order_id = await shop.place()
    captured = shop.desk.capture(shop.desk.open(order_id))
    seqs = shop.new_seqs(1)
    await shop.deliver_as(seqs, captured)
    before = await shop.everything()
    await shop.deliver_as(seqs, captured)
    await shop.deliver(captured)
    await shop.deliver(captured, captured)
    assert await shop.everything() == before


async def test_a_second_capture_of_a_paid_order_is_given_back(shop: OrderingShop) -> None:
    order_id, first = await shop.place_and_pay()
    second = shop.desk.open(order_id, key="second")
    await shop.deliver(shop.desk.capture(second))
    row = await shop.row(order_id)
    assert (row.status, row.payment_id) == ("paid", first.id)
    assert (await shop.told())[1:] == [RefundRequested(order_id, second.id, PRICE, "paid-already")]


async def test_the_refund_of_the_second_capture_leaves_the_order_paid(shop: OrderingShop) -> None:
    order_id, _ = await shop.place_and_pay()
    second = shop.desk.open(order_id, key="second")
    await shop.deliver(shop.desk.capture(second))
    before = await shop.everything()
    await shop.deliver(shop.desk.refund(second))
    assert await shop.everything() == before


@pytest.mark.parametrize("amount", [Money(1, "CNY"), Money(1990, "USD"), Money(19_900, "CNY")])
async def test_a_wrong_amount_is_given_back_and_the_order_stays_to_be_paid(shop: OrderingShop, amount: Money) -> None:
    order_id = await shop.place()
    wrong = shop.desk.open(order_id, amount=amount, key="wrong")
    await shop.deliver(shop.desk.capture(wrong))
    row = await shop.row(order_id)
    assert (row.status, row.payment_id, row.version) == ("pending_payment", None, 1)
    assert await shop.told() == [RefundRequested(order_id, wrong.id, amount, "wrong-amount")]
    right = shop.desk.open(order_id, key="right")
    await shop.deliver(shop.desk.capture(right))
    assert (await shop.row(order_id)).payment_id == right.id


async def test_a_payment_after_the_cancellation_is_given_back(shop: OrderingShop) -> None:
    order_id = await shop.place()
    payment = shop.desk.open(order_id)
    await shop.service.cancel(shopper(), order_id)
    await shop.deliver(shop.desk.capture(payment))
    row = await shop.row(order_id)
    assert (row.status, row.payment_id) == ("refunding", payment.id)
    assert await shop.history(order_id) == [
        (None, "pending_payment", "flash_sale", "claim"),
        ("pending_payment", "cancelled", "account 1", "customer"),
        ("cancelled", "refunding", "payments", f"late payment {payment.id}"),
    ]
    cancelled, asked_back = await shop.told()
    assert isinstance(cancelled, OrderCancelled)
    assert asked_back == RefundRequested(order_id, payment.id, PRICE, "late-payment")


async def test_two_late_payments_both_go_back_and_the_goods_once(shop: OrderingShop) -> None:
    order_id = await shop.place()
    late = [shop.desk.open(order_id, key=key) for key in ("a", "b")]
    await shop.service.cancel(shopper(), order_id)
    await shop.deliver(*(shop.desk.capture(payment) for payment in late))
    causes = {event.payment_id: event.cause for event in await shop.told() if isinstance(event, RefundRequested)}
    await shop.deliver(*(shop.desk.refund(payment, causes[payment.id]) for payment in late))
    assert await shop.status(order_id) == "refunded"
    told = await shop.told()
    assert [type(event) for event in told] == [OrderCancelled, RefundRequested, RefundRequested, OrderRefunded]
    assert {event.payment_id for event in told if isinstance(event, RefundRequested)} == {each.id for each in late}


async def test_a_refund_ends_the_order_once(shop: OrderingShop) -> None:
    order_id, payment = await shop.place_and_pay()
    await shop.service.cancel(shopper(), order_id)
    refunded = shop.desk.refund(payment)
    await shop.deliver(refunded)
    before = await shop.everything()
    await shop.deliver(refunded)
    assert await shop.everything() == before
    assert await shop.status(order_id) == "refunded"
    assert [type(event) for event in await shop.told()] == [OrderPaid, OrderCancelled, RefundRequested, OrderRefunded]


async def test_an_event_about_an_order_that_is_not_here_is_tried_again_and_writes_nothing(shop: OrderingShop) -> None:
    before = await shop.everything()
    for event in (PaymentCaptured(1, 404, PRICE, 0), PaymentRefunded(1, 404, PRICE, "customer", True, 0)):
        with pytest.raises(OrderMissing):
            await shop.deliver(event)
    assert await shop.everything() == before


async def test_the_same_capture_from_many_relays_at_once_pays_once(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(5)
    captures = [shop.desk.capture(shop.desk.open(order_id)) for order_id in order_ids]
    await all_at_once([lambda event=event: shop.deliver(event) for event in captures * 8])
    for event in captures:
        assert await shop.told(event.order_id) == [paid_event(event.order_id, event.payment_id)]
        assert [to for _, to, _, _ in await shop.history(event.order_id)] == ["pending_payment", "paid"]


async def test_two_captures_of_one_order_at_once_pay_it_once_and_one_goes_back(shop: OrderingShop) -> None:
    order_ids = await shop.place_all(10)
    captures = [shop.desk.capture(shop.desk.open(order_id, key=key)) for order_id in order_ids for key in ("a", "b")]
    await all_at_once([lambda event=event: shop.deliver(event) for event in captures])
    for order_id in order_ids:
        paid, back = sorted(await shop.told(order_id), key=lambda event: type(event).__name__)
        assert isinstance(paid, OrderPaid)
        assert isinstance(back, RefundRequested)
        assert back.cause == "paid-already"
        row = await shop.row(order_id)
        assert (row.status, row.payment_id) == ("paid", paid.payment_id)
        assert {paid.payment_id, back.payment_id} == {e.payment_id for e in captures if e.order_id == order_id}


async def test_a_capture_after_the_deadline_that_came_before_the_sweep_still_pays(shop: OrderingShop) -> None:
    order_id = await shop.place()
    payment = shop.desk.open(order_id)
    shop.clock.advance(3 * PAY_WITHIN_MS)
    await shop.deliver(shop.desk.capture(payment))
    assert await shop.expiry.sweep() == 0
    assert await shop.status(order_id) == "paid"
