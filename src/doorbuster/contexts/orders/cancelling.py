"""Orders that are given up before they are sent off: their goods go back where they came from, and their money too."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.orders import asking_back, store
from doorbuster.contexts.orders.model import Who, units_of
from doorbuster.contracts.orders import OrderCancelled
from doorbuster.kernel.events import Event
from doorbuster.platform.sql.database import Tx


def cancelled(tx: Tx, moved: Sequence[store.Moved], cause: str, *, was_paid: bool) -> list[Event]:
    """An event for each order just moved, with the units that have not come back already."""
    found = {order.id: order for order in store.find_many(tx, [each.id for each in moved])}
    return [
        OrderCancelled(
            each.id,
            each.customer_id,
            each.sale_id,
            cause,
            was_paid,
            # An unpaid order had nothing returned, and most cancelled orders are unpaid ones.
            units_of(
                found[each.id].lines, asking_back.refunded_units(tx, each.id, restocked_only=True) if was_paid else None
            ),
        )
        for each in moved
    ]


def cancel_paid(tx: Tx, order_id: int, who: Who, actor: str, now_ms: int) -> list[Event]:
    """paid → refunding, if it stands there: goods and what is left of the money go back. What is to be told."""
    moved = store.move(tx, [order_id], "paid", "refunding", who=who, actor=actor, cause=who, now_ms=now_ms)
    told = cancelled(tx, moved, who, was_paid=True)
    for each in moved:
        assert each.payment_id is not None, "a paid order has a payment, by a check of the database"
        told += asking_back.ask_back_rest(tx, each.id, each.payment_id, each.rest, who, actor=actor, now_ms=now_ms)
    return told
