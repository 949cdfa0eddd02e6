"""What delivery looks like in JSON."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.contexts.delivery.model import Courier, Offer, Shipment, Task, Tracking
from doorbuster.contracts.delivery import CourierStatus, ShipmentStatus, TaskStatus
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.places import Destination
from doorbuster.platform.http.faces import IdText, TimeText
from doorbuster.platform.http.places import PlaceBody


class TaskView(Struct, frozen=True):
    """Who serves it sees where it goes."""

    order_id: IdText
    status: TaskStatus
    urgent: bool
    pick_up: PlaceBody | None
    destination: Destination | None
    courier_id: IdText | None
    created_at: TimeText
    changed_at: TimeText

    @classmethod
    def of(cls, task: Task) -> TaskView:
        return cls(
            str(task.id),
            task.status,
            task.urgent,
            PlaceBody.of(task.pick_up),
            task.destination,
            None if task.courier_id is None else str(task.courier_id),
            rfc3339(task.created_ms),
            rfc3339(task.changed_ms),
        )


class PriorityView(Struct, frozen=True):
    """How a delivery weighs against others; for those who set it."""

    order_id: IdText
    priority: int
    urgent: bool

    @classmethod
    def of(cls, task: Task) -> PriorityView:
        return cls(str(task.id), task.priority, task.urgent)


class TaskPage(Struct, frozen=True):
    items: list[TaskView]
    next_cursor: str | None


class DeliveryView(Struct, frozen=True):
    """What the customer sees; `courier_at` only while they carry it."""

    task: TaskView
    courier_at: PlaceBody | None
    courier_seen_at: TimeText | None

    @classmethod
    def of(cls, task: Task, courier: Courier | None) -> DeliveryView:
        if courier is None or courier.at is None:
            return cls(TaskView.of(task), None, None)
        return cls(TaskView.of(task), PlaceBody.of(courier.at), rfc3339(courier.position_ms))


class OfferView(Struct, frozen=True):
    """Only this courier is asked, until `expires_at`."""

    id: IdText
    order_id: IdText
    expires_at: TimeText
    distance_m: int
    pick_up: PlaceBody | None
    drop_off: PlaceBody | None

    @classmethod
    def of(cls, offer: Offer, task: Task) -> OfferView:
        return cls(
            str(offer.id),
            str(offer.task_id),
            rfc3339(offer.expires_ms),
            offer.distance_m,
            PlaceBody.of(task.pick_up),
            PlaceBody.of(task.drop_off),
        )


class CourierView(Struct, frozen=True):
    status: CourierStatus
    at: PlaceBody | None
    load: int

    @classmethod
    def of(cls, courier: Courier) -> CourierView:
        return cls("online" if courier.online else "offline", PlaceBody.of(courier.at), courier.load)


class ShipmentView(Struct, frozen=True):
    order_id: IdText
    status: ShipmentStatus
    carrier: str
    tracking_number: str
    sent_at: TimeText | None

    @classmethod
    def of(cls, shipment: Shipment) -> ShipmentView:
        return cls(
            str(shipment.order_id),
            shipment.status,
            shipment.carrier,
            shipment.tracking_number,
            None if shipment.sent_ms is None else rfc3339(shipment.sent_ms),
        )


class ShipmentPage(Struct, frozen=True):
    items: list[ShipmentView]
    next_cursor: str | None


class TrackingView(Struct, frozen=True):
    at: TimeText
    description: str
    location: str

    @classmethod
    def of(cls, tracking: Tracking) -> TrackingView:
        return cls(rfc3339(tracking.at_ms), tracking.description, tracking.location)


class ParcelView(Struct, frozen=True):
    shipment: ShipmentView
    tracking: list[TrackingView]
