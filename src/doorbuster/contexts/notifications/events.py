"""Who is to be told of which event. Written with the event's inbox row; whom that is, is found out later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from doorbuster.contexts.notifications import store
from doorbuster.contexts.notifications.model import Facts, Kind, Notice, Part
from doorbuster.contracts.accounts import AccountRegistered
from doorbuster.contracts.delivery import CourierAssigned, CourierCalledOff, OfferMade, OrderDelivered, ParcelSent
from doorbuster.contracts.orders import (
    OrderCancelled,
    OrderCompleted,
    OrderPaid,
    OrderPartlyRefunded,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
)
from doorbuster.contracts.support import MessageSent
from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus.consumer import Consumer
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point

Told = tuple[Part, Kind, int | None, Facts]

OF_ORDERS = (
    OrderPlaced,
    OrderPaid,
    OrderCancelled,
    OrderRefunded,
    OrderPartlyRefunded,
    OrderShipped,
    OrderCompleted,
)
OF_DELIVERY = (CourierAssigned, CourierCalledOff, OfferMade, ParcelSent, OrderDelivered)


def consumers() -> list[Consumer]:
    def note(tx: Tx, envelopes: Sequence[Envelope[Any]]) -> None:
        store.add_notices(tx, [notice for envelope in envelopes for notice in notices_of(envelope)])
        crash_point("notifications.noted-not-committed")

    return [
        Consumer("notifications.orders", "orders", OF_ORDERS, note),
        Consumer("notifications.delivery", "delivery", OF_DELIVERY, note),
        Consumer("notifications.support", "support", (MessageSent,), note),
        Consumer("notifications.accounts", "accounts", (AccountRegistered,), note),
    ]


def notices_of(envelope: Envelope[Event]) -> list[Notice]:
    return [
        Notice(envelope.source, envelope.seq, part, kind, account_id, facts, envelope.at_ms)
        for part, kind, account_id, facts in told(envelope.event)
    ]


def told(event: Event) -> Sequence[Told]:  # noqa: C901 - a table
    """(part, kind, account, facts) of everybody who is told. The account is None if only the order knows."""
    match event:
        case OrderPlaced():
            facts = Facts(event.order_id, event.total)
            return [("customer", "order-placed", event.customer_id, facts)]
        case OrderPaid():
            facts = Facts(event.order_id, event.total)
            return [
                ("customer", "order-paid", event.customer_id, facts),
                ("merchant", "sold-order-paid", event.merchant_id, facts),
            ]
        case OrderCancelled():
            customer: Told = ("customer", "order-cancelled", event.customer_id, Facts(event.order_id))
            merchant: Told = ("merchant", "sold-order-cancelled", None, Facts(event.order_id))
            # Of an order that was never paid its merchant has not heard yet.
            return [customer, merchant] if event.was_paid else [customer]
        case OrderRefunded():
            return _both("refunded", event.customer_id, Facts(event.order_id, event.amount))
        case OrderPartlyRefunded():
            return _both("partly-refunded", event.customer_id, Facts(event.order_id, event.amount))
        case OrderShipped():
            return _both("shipped", event.customer_id, Facts(event.order_id))
        case OrderCompleted():
            return _both("completed", event.customer_id, Facts(event.order_id))
        case CourierAssigned():
            return [("customer", "courier-assigned", event.customer_id, Facts(event.order_id))]
        case CourierCalledOff():
            return [("courier", "courier-called-off", event.courier_id, Facts(event.order_id))]
        case OfferMade():
            facts = Facts(event.order_id, expires_ms=event.expires_ms)
            return [("courier", "offer-made", event.courier_id, facts)]
        case ParcelSent():
            facts = Facts(event.order_id, carrier=event.carrier, tracking_number=event.tracking_number)
            return [("customer", "parcel-sent", event.customer_id, facts)]
        case OrderDelivered():
            return [("customer", "order-delivered", event.customer_id, Facts(event.order_id))]
        case MessageSent():
            if event.to_account_id is None:
                return []  # agents look at their queue
            facts = Facts(conversation_id=event.conversation_id, excerpt=event.excerpt)
            return [("party", "support-message", event.to_account_id, facts)]
        case AccountRegistered():
            return [("account", "welcome", event.account_id, Facts())]
        case _:
            raise AssertionError(f"{type(event).__name__} is not listened to")


def _both(what: str, customer_id: int, facts: Facts) -> list[Told]:
    kinds: dict[str, tuple[Kind, Kind]] = {
        "refunded": ("order-refunded", "sold-order-refunded"),
        "partly-refunded": ("order-partly-refunded", "sold-order-partly-refunded"),
        "shipped": ("order-shipped", "sold-order-shipped"),
        "completed": ("order-completed", "sold-order-completed"),
    }
    mine, theirs = kinds[what]
    return [("customer", mine, customer_id, facts), ("merchant", theirs, None, facts)]
