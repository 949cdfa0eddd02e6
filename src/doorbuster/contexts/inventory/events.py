"""What the inventory does about orders and closed sales."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.inventory import settling
from doorbuster.contracts.flash_sale import AllotmentReturned
from doorbuster.contracts.orders import GoodsReturned, OrderCancelled, OrderPaid
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


def consumers(clock: Clock) -> list[Consumer]:
    def settle(tx: Tx, envelopes: Sequence[Envelope[OrderPaid | GoodsReturned | OrderCancelled]]) -> None:
        now_ms = clock.now_ms()
        events = [envelope.event for envelope in envelopes]
        # Of one order they come in this order within a batch too.
        if paid := [event for event in events if isinstance(event, OrderPaid)]:
            emit(tx, settling.sell(tx, paid, now_ms), now_ms)
        if returned := [event for event in events if isinstance(event, GoodsReturned)]:
            settling.take_back(tx, returned, now_ms)
        if cancelled := [event for event in events if isinstance(event, OrderCancelled)]:
            settling.cancel(tx, cancelled, now_ms)
        crash_point("inventory.settled-not-committed")

    def take_over(tx: Tx, envelopes: Sequence[Envelope[AllotmentReturned]]) -> None:
        settling.unallot(tx, [envelope.event for envelope in envelopes], clock.now_ms())
        crash_point("inventory.unallotted-not-committed")

    return [
        Consumer("inventory.orders", "orders", (OrderPaid, GoodsReturned, OrderCancelled), settle),
        Consumer("inventory.sales", "flash_sale", (AllotmentReturned,), take_over),
    ]
