"""What the flash sale does about orders: a cancelled order's units go back on sale."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.flash_sale import store
from doorbuster.contracts.orders import OrderCancelled
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.sql.database import Tx


def consumers(clock: Clock) -> list[Consumer]:
    def release_cancelled(tx: Tx, envelopes: Sequence[Envelope[OrderCancelled]]) -> None:
        cancelled = [
            (envelope.event.order_id, envelope.event.sale_id)
            for envelope in envelopes
            if envelope.event.sale_id is not None
        ]
        if cancelled:
            store.release(tx, cancelled, clock.now_ms())

    return [Consumer("flash_sale.releases", "orders", (OrderCancelled,), release_cancelled)]
