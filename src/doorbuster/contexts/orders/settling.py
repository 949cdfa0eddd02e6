"""What money does to orders: in batches, conditional in the database, told by events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doorbuster.contexts.orders import asking_back, store
from doorbuster.contexts.orders.model import units_of
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.orders import (
    Order,
    OrderCancelled,
    OrderPaid,
    OrderPartlyRefunded,
    OrderRefunded,
    RefundRequested,
)
from doorbuster.contracts.payments import PaymentCaptured, PaymentRefunded
from doorbuster.kernel.events import Event
from doorbuster.platform.sql.database import Tx


class OrderMissing(Exception):
    """An event about an order that is not here yet: the event is tried again later."""


def capture_all(tx: Tx, events: Sequence[PaymentCaptured], now_ms: int) -> list[Event]:
    """Money has come in for orders: each is paid, or its money is to go back. Raises OrderMissing.

    The usual case, an unpaid order and its total, takes a number of statements that does not grow with the batch.
    """
    if not events:
        return []
    known = {order.id: order for order in store.find_many(tx, [event.order_id for event in events])}
    usual: dict[int, PaymentCaptured] = {}
    for event in events:
        order = known.get(event.order_id)
        if order is None:
            raise OrderMissing(event.order_id)
        if event.amount == order.total:
            usual.setdefault(order.id, event)
    paid = store.pay(tx, {order_id: event.payment_id for order_id, event in usual.items()}, now_ms)
    told: list[Event] = [_paid(order, usual[order.id].payment_id) for order in paid.values()]
    done = {usual[order_id].payment_id for order_id in paid}
    for event in events:
        if event.payment_id not in done:
            told += _capture_otherwise(tx, event, known[event.order_id], now_ms)
    return told


def _paid(order: Order, payment_id: int) -> OrderPaid:
    return OrderPaid(
        order_id=order.id,
        customer_id=order.customer_id,
        payment_id=payment_id,
        total=order.total,
        merchant_id=order.merchant_id,
        sale_id=order.sale_id,
        fulfilment=order.fulfilment,
        lines=units_of(order.lines),
        destination=order.destination,
    )


def _capture_otherwise(tx: Tx, event: PaymentCaptured, order: Order, now_ms: int) -> list[Event]:
    """It goes back when it is not the amount owed, when the order is cancelled, or when it is paid already."""
    if event.amount != order.total:
        return [RefundRequested(order.id, event.payment_id, event.amount, "wrong-amount")]
    late = store.move(
        tx,
        [order.id],
        "cancelled",
        "refunding",
        who="payments",
        actor="payments",
        cause=f"late payment {event.payment_id}",
        now_ms=now_ms,
        payment_id=event.payment_id,
    )
    if late:
        return [
            *asking_back.ask_back_rest(
                tx, order.id, event.payment_id, event.amount, "late-payment", actor="payments", now_ms=now_ms
            )
        ]
    # Looked at only now: what was read before the moves may be older than a move that was waited for.
    (now,) = store.find_many(tx, [order.id])
    if now.payment_id == event.payment_id:
        return []
    return [RefundRequested(order.id, event.payment_id, event.amount, "paid-already")]


def refund_all(tx: Tx, events: Sequence[PaymentRefunded], now_ms: int) -> list[Event]:
    """Money has gone back. Raises OrderMissing."""
    known = {order.id: order for order in store.find_many(tx, sorted({event.order_id for event in events}))}
    return [told for event in events for told in _refund(tx, event, known, now_ms)]


def _refund(tx: Tx, event: PaymentRefunded, known: Mapping[int, Order], now_ms: int) -> list[Event]:
    """If it was the order's own payment, a refund of it has succeeded; with the last of them the order is refunded."""
    order = known.get(event.order_id)
    if order is None:
        raise OrderMissing(event.order_id)
    if order.payment_id != event.payment_id:
        return []
    number = asking_back.succeed(tx, order.id, event.cause, now_ms)
    if event.whole:
        moved = store.move(
            tx,
            [order.id],
            "refunding",
            "refunded",
            who="payments",
            actor="payments",
            cause=f"refund of payment {event.payment_id}",
            now_ms=now_ms,
        )
        return [OrderRefunded(each.id, each.customer_id, event.payment_id, each.total) for each in moved]
    return [] if number is None else [OrderPartlyRefunded(order.id, order.customer_id, number, event.amount)]


def lose_holds(tx: Tx, events: Sequence[HoldLost], now_ms: int) -> list[Event]:
    """Orders were paid after their units had gone to others: the money goes back, at once and by itself.

    No goods come back with it, so the cancellation that is told has no lines.
    """
    told: list[Event] = []
    for event in events:
        moved = store.move(
            tx,
            [event.order_id],
            "paid",
            "refunding",
            who="inventory",
            actor="inventory",
            cause="out-of-stock",
            now_ms=now_ms,
        )
        for order in moved:
            assert order.payment_id is not None, "a paid order has a payment, by a check of the database"
            told.append(OrderCancelled(order.id, order.customer_id, order.sale_id, "out-of-stock", True, ()))
            told += asking_back.ask_back_rest(
                tx, order.id, order.payment_id, order.rest, "out-of-stock", actor="inventory", now_ms=now_ms
            )
    return told
