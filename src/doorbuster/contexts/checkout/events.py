"""What checkout does about orders: a cancelled order gives its coupon back."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.checkout import redeeming
from doorbuster.contracts.orders import OrderCancelled
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


def consumers(clock: Clock) -> list[Consumer]:
    def give_back(tx: Tx, envelopes: Sequence[Envelope[OrderCancelled]]) -> None:
        # An order of a sale has never been through here.
        cancelled = [each.event.order_id for each in envelopes if each.event.sale_id is None]
        if cancelled:
            redeeming.give_back(tx, cancelled, clock.now_ms())
        crash_point("checkout.coupon-returned-not-committed")

    return [Consumer("checkout.cancellations", "orders", (OrderCancelled,), give_back)]
