"""What orders do about claims, payments and lost holds. Effects are batches, conditional in the database."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.orders import settling
from doorbuster.contexts.orders.cancelling import cancel_paid
from doorbuster.contexts.orders.model import order_of
from doorbuster.contexts.orders.placing import insert_missing
from doorbuster.contracts.delivery import OrderDeclined
from doorbuster.contracts.flash_sale import ClaimAccepted
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.payments import PaymentCaptured, PaymentRefunded
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


def consumers(clock: Clock) -> list[Consumer]:
    def write_orders(tx: Tx, envelopes: Sequence[Envelope[ClaimAccepted]]) -> None:
        claims = [envelope.event.claim for envelope in envelopes]
        insert_missing(tx, [order_of(claim) for claim in claims], "flash_sale", "claim")
        crash_point("orders.inserted-inbox-not-committed")

    def settle_payments(tx: Tx, envelopes: Sequence[Envelope[PaymentCaptured | PaymentRefunded]]) -> None:
        now_ms = clock.now_ms()
        events = [envelope.event for envelope in envelopes]
        # Of one order the captures come first in the batch too: what is refunded was captured before.
        told: list[Event] = [
            *settling.capture_all(tx, [event for event in events if isinstance(event, PaymentCaptured)], now_ms),
            *settling.refund_all(tx, [event for event in events if isinstance(event, PaymentRefunded)], now_ms),
        ]
        emit(tx, told, now_ms)
        crash_point("orders.paid-not-committed")

    def give_back(tx: Tx, envelopes: Sequence[Envelope[HoldLost]]) -> None:
        now_ms = clock.now_ms()
        emit(tx, settling.lose_holds(tx, [envelope.event for envelope in envelopes], now_ms), now_ms)
        crash_point("orders.hold-lost-not-committed")

    def give_up_declined(tx: Tx, envelopes: Sequence[Envelope[OrderDeclined]]) -> None:
        now_ms = clock.now_ms()
        for envelope in envelopes:
            event = envelope.event
            emit(tx, cancel_paid(tx, event.order_id, "merchant", f"account {event.merchant_id}", now_ms), now_ms)

    return [
        Consumer("orders.declined", "delivery", (OrderDeclined,), give_up_declined),
        Consumer("orders.claims", "flash_sale", (ClaimAccepted,), write_orders),
        Consumer("orders.payments", "payments", (PaymentCaptured, PaymentRefunded), settle_payments),
        Consumer("orders.lost-holds", "inventory", (HoldLost,), give_back),
    ]
