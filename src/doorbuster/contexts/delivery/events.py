"""What delivery does about orders: a paid one is to be delivered, one that is given back is not."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.delivery import changing
from doorbuster.contexts.delivery.model import KnownOrder
from doorbuster.contracts.orders import OrderCancelled, OrderPaid, OrderRefunded
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


def consumers(clock: Clock) -> list[Consumer]:
    def follow_orders(tx: Tx, envelopes: Sequence[Envelope[OrderPaid | OrderCancelled | OrderRefunded]]) -> None:
        """One consumer for all of them. What is given back before it is known is remembered, and begins cancelled."""
        now_ms = clock.now_ms()
        events = [envelope.event for envelope in envelopes]
        paid = [_known(event) for event in events if isinstance(event, OrderPaid)]
        gone = {event.order_id for event in events if isinstance(event, OrderCancelled) and event.was_paid}
        gone |= {event.order_id for event in events if isinstance(event, OrderRefunded)}
        changing.know_paid(tx, paid, now_ms)
        changing.cancel_all(tx, gone, "given back", now_ms)
        crash_point("delivery.orders-not-committed")

    return [Consumer("delivery.orders", "orders", (OrderPaid, OrderCancelled, OrderRefunded), follow_orders)]


def _known(event: OrderPaid) -> KnownOrder:
    return KnownOrder(event.order_id, event.customer_id, event.merchant_id, event.fulfilment, event.destination)
