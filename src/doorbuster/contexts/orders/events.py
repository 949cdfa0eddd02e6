"""What orders do about claims and payments. Effects are batches, conditional in the database, told by events."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.model import order_of
from doorbuster.contracts.flash_sale import ClaimAccepted
from doorbuster.contracts.orders import Order, OrderPaid, OrderRefunded, RefundRequested
from doorbuster.contracts.payments import PaymentCaptured, PaymentRefunded
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


class OrderMissing(Exception):
    """An event about an order that is not here yet: the event is tried again later."""


def consumers(clock: Clock) -> list[Consumer]:
    def write_orders(tx: Tx, envelopes: Sequence[Envelope[ClaimAccepted]]) -> None:
        claims = [envelope.event.claim for envelope in envelopes]
        store.insert_missing(tx, [order_of(claim) for claim in claims], "flash_sale", "claim")
        crash_point("orders.inserted-inbox-not-committed")

    def settle_payments(tx: Tx, envelopes: Sequence[Envelope[PaymentCaptured | PaymentRefunded]]) -> None:
        told: list[Event] = []
        for envelope in envelopes:
            if isinstance(envelope.event, PaymentCaptured):
                told += capture(tx, envelope.event, clock.now_ms())
            else:
                told += refunded(tx, envelope.event, clock.now_ms())
        emit(tx, told, clock.now_ms())
        crash_point("orders.paid-not-committed")

    return [
        Consumer("orders.claims", "flash_sale", (ClaimAccepted,), write_orders),
        Consumer("orders.payments", "payments", (PaymentCaptured, PaymentRefunded), settle_payments),
    ]


def capture(tx: Tx, event: PaymentCaptured, now_ms: int) -> list[Event]:
    """Money has come in for an order: it is paid, or the money is to go back.

    It goes back when it is not the amount owed, when the order is cancelled, or when it is paid already.
    """
    order = _found(tx, event.order_id)
    if event.amount != order.total:
        return [RefundRequested(order.id, event.payment_id, event.amount, "wrong-amount")]
    paid = store.move(
        tx,
        [order.id],
        "pending_payment",
        "paid",
        actor="payments",
        cause=f"payment {event.payment_id}",
        now_ms=now_ms,
        payment_id=event.payment_id,
    )
    if paid:
        return [OrderPaid(order.id, order.customer_id, event.payment_id, order.total)]
    late = store.move(
        tx,
        [order.id],
        "cancelled",
        "refunding",
        actor="payments",
        cause=f"late payment {event.payment_id}",
        now_ms=now_ms,
        payment_id=event.payment_id,
    )
    if late:
        return [RefundRequested(order.id, event.payment_id, event.amount, "late-payment")]
    # Looked at only now: what was read before the moves may be older than a move that was waited for.
    if _found(tx, order.id).payment_id == event.payment_id:
        return []
    return [RefundRequested(order.id, event.payment_id, event.amount, "paid-already")]


def refunded(tx: Tx, event: PaymentRefunded, now_ms: int) -> list[Event]:
    """Money has gone back. If it was the order's own payment, the order is refunded."""
    order = _found(tx, event.order_id)
    if order.payment_id != event.payment_id:
        return []
    moved = store.move(
        tx,
        [order.id],
        "refunding",
        "refunded",
        actor="payments",
        cause=f"refund of payment {event.payment_id}",
        now_ms=now_ms,
    )
    return [OrderRefunded(order.id, event.payment_id) for order in moved if order.payment_id is not None]


def _found(tx: Tx, order_id: int) -> Order:
    order = store.find(tx, order_id)
    if order is None:
        raise OrderMissing(order_id)
    return order
