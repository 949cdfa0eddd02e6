"""Delivery: parcels and couriers, and where they are."""

from __future__ import annotations

from typing import Literal

from doorbuster.kernel.errors import Conflict, Invalid, NotFound, TooMany
from doorbuster.kernel.events import Event
from doorbuster.kernel.places import Place

TaskStatus = Literal["waiting", "preparing", "ready", "assigned", "picked_up", "delivered", "cancelled"]
OfferStatus = Literal["open", "accepted", "declined", "expired", "withdrawn"]
CourierStatus = Literal["offline", "online"]
ShipmentStatus = Literal["to_send", "sending", "sent", "cancelled"]


class ShipmentNotFound(NotFound):
    slug = "shipment-not-found"
    title = "There is no such shipment"


class TaskNotFound(NotFound):
    slug = "delivery-task-not-found"
    title = "There is no such delivery task"


class OfferNotFound(NotFound):
    slug = "offer-not-found"
    title = "There is no such offer"


class OfferGone(Conflict):
    """It has expired, was withdrawn, or was answered otherwise. `status` tells."""

    slug = "offer-gone"
    title = "This offer is not open any more"


class MoveNotPossible(Conflict):
    """`status` tells where the task stands."""

    slug = "delivery-move-not-possible"
    title = "The delivery is not at the point where this can happen"


class CourierOffline(Conflict):
    slug = "courier-offline"
    title = "Go online first"


class CourierBusy(Conflict):
    slug = "courier-busy"
    title = "Deliver what you carry before going offline"


class TooManyPositions(TooMany):
    slug = "too-many-positions"
    title = "Positions come too often"


class DeliveryInvalid(Invalid):
    slug = "delivery-invalid"
    title = "A delivery cannot look like this"


class CourierAssigned(Event, frozen=True, tag="delivery.courier-assigned"):
    order_id: int
    customer_id: int
    courier_id: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class CourierCalledOff(Event, frozen=True, tag="delivery.courier-called-off"):
    """A courier is not asked for this order any more, or does not carry it any more, without having said so."""

    order_id: int
    courier_id: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OfferMade(Event, frozen=True, tag="delivery.offer-made"):
    """A courier is asked, and nobody else, until `expires_ms`."""

    offer_id: int
    order_id: int
    courier_id: int
    expires_ms: int
    pick_up: Place

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class ParcelSent(Event, frozen=True, tag="delivery.parcel-sent"):
    """A parcel is with the carrier."""

    order_id: int
    customer_id: int
    carrier: str
    tracking_number: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderDelivered(Event, frozen=True, tag="delivery.delivered"):
    """Takeout is in the customer's hands."""

    order_id: int
    customer_id: int
    courier_id: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderDeclined(Event, frozen=True, tag="delivery.declined"):
    """The merchant will not prepare a paid order: nothing will be delivered, and the money goes back."""

    order_id: int
    merchant_id: int
    reason: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class DeliveryChanged(Event, frozen=True, tag="delivery.changed"):
    """Something new stands in the stream of this order; a hint for those who show it."""

    order_id: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id
