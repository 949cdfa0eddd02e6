"""The rows of parcels and what is known of them under way."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.delivery.model import TRACKING_MAX, KnownOrder, Shipment, Tracking
from doorbuster.contexts.delivery.tables import shipments, tracking
from doorbuster.contracts.delivery import ShipmentStatus
from doorbuster.platform.sql.database import Tx

_COLUMNS = [shipments.c[name] for name in Shipment.__struct_fields__]
_TRACKING = [tracking.c[name] for name in Tracking.__struct_fields__]


def insert_all(tx: Tx, orders: Sequence[KnownOrder], now_ms: int) -> None:
    rows = [
        {
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "merchant_id": order.merchant_id,
            "status": "to_send",
            "carrier": "",
            "tracking_number": "",
            "actor": "",
            "changed_ms": now_ms,
        }
        for order in orders
    ]
    if rows:
        tx.execute(sa.insert(shipments), rows)


def find(tx: Tx, order_id: int) -> Shipment | None:
    row = tx.execute(sa.select(*_COLUMNS).where(shipments.c.order_id == order_id)).first()
    return None if row is None else Shipment(*row)


def begin(tx: Tx, order_id: int, carrier: str, tracking_number: str, actor: str, now_ms: int) -> bool:
    """to_send → sending; False: it does not stand there."""
    begun = tx.execute(
        sa.update(shipments)
        .where(shipments.c.order_id == order_id, shipments.c.status == "to_send")
        .values(status="sending", carrier=carrier, tracking_number=tracking_number, actor=actor, changed_ms=now_ms)
    )
    return begun.rowcount == 1


def finish(tx: Tx, order_id: int, now_ms: int) -> Shipment | None:
    """sending → sent; None: it does not stand there."""
    row = tx.execute(
        sa.update(shipments)
        .where(shipments.c.order_id == order_id, shipments.c.status == "sending")
        .values(status="sent", sent_ms=now_ms, changed_ms=now_ms)
        .returning(*_COLUMNS)
    ).first()
    return None if row is None else Shipment(*row)


def cancel(tx: Tx, order_id: int, now_ms: int) -> None:
    """What is not sent yet."""
    tx.execute(
        sa.update(shipments)
        .where(shipments.c.order_id == order_id, shipments.c.status.in_(("to_send", "sending")))
        .values(status="cancelled", changed_ms=now_ms)
    )


def touch(tx: Tx, order_id: int, now_ms: int) -> None:
    """The sending is being carried on: the next try comes after the next pause."""
    tx.execute(
        sa.update(shipments)
        .where(shipments.c.order_id == order_id, shipments.c.status == "sending")
        .values(changed_ms=now_ms)
    )


def sending_before(tx: Tx, before_ms: int, limit: int) -> list[Shipment]:
    statement = (
        sa.select(*_COLUMNS)
        .where(shipments.c.status == sa.literal_column("'sending'"), shipments.c.changed_ms <= before_ms)
        .order_by(shipments.c.changed_ms)
        .limit(limit)
    )
    return [Shipment(*row) for row in tx.execute(statement)]


def list_of_merchant(tx: Tx, merchant_id: int, status: ShipmentStatus, after: int, limit: int) -> list[Shipment]:
    statement = sa.select(*_COLUMNS).where(
        shipments.c.merchant_id == merchant_id, shipments.c.status == status, shipments.c.order_id > after
    )
    return [Shipment(*row) for row in tx.execute(statement.order_by(shipments.c.order_id).limit(limit))]


def add_tracking(tx: Tx, order_id: int, at_ms: int, description: str, location: str) -> Tracking | None:
    """One thing more known of a parcel that was sent; None: there are TRACKING_MAX already, or it was not sent."""
    n = tx.execute(
        sa.update(shipments)
        .where(shipments.c.order_id == order_id, shipments.c.status == "sent", shipments.c.last_tracking < TRACKING_MAX)
        .values(last_tracking=shipments.c.last_tracking + 1)
        .returning(shipments.c.last_tracking)
    ).scalar()
    if n is None:
        return None
    row = {"order_id": order_id, "n": n, "at_ms": at_ms, "description": description, "location": location}
    tx.execute(sa.insert(tracking).values(row))
    return Tracking(n, at_ms, description, location)


def tracking_of(tx: Tx, order_id: int) -> list[Tracking]:
    """At most TRACKING_MAX, in order."""
    statement = sa.select(*_TRACKING).where(tracking.c.order_id == order_id).order_by(tracking.c.n)
    return [Tracking(*row) for row in tx.execute(statement.limit(TRACKING_MAX))]
