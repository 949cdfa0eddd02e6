"""The life of a delivery: of the task, of an offer, of a parcel. Pure.

One table says which moves a task may make and who makes them. A task is the takeout order's own (its id is the
order's); while an offer of it is open the task stands at `ready`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from doorbuster.contracts.delivery import OfferStatus, ShipmentStatus, TaskStatus
from doorbuster.kernel.places import Destination, Place

Who = Literal["orders", "merchant", "support", "courier", "sweeper"]
Step = Literal["picking_up", "delivering"]
"""What a courier has begun and orders have not confirmed yet."""

MOVES: Mapping[TaskStatus, Mapping[TaskStatus, frozenset[Who]]] = {
    "waiting": {
        "preparing": frozenset({"merchant", "support"}),
        "cancelled": frozenset({"orders", "merchant", "support"}),
    },
    "preparing": {
        "ready": frozenset({"merchant", "support"}),
        "cancelled": frozenset({"orders", "merchant", "support"}),
    },
    "ready": {
        "assigned": frozenset({"courier"}),
        "cancelled": frozenset({"orders"}),
    },
    "assigned": {
        "picked_up": frozenset({"courier"}),
        "ready": frozenset({"courier", "merchant", "support", "sweeper"}),
        "cancelled": frozenset({"orders"}),
    },
    "picked_up": {"delivered": frozenset({"courier"})},
    "delivered": {},
    "cancelled": {},
}
BEGINNING: TaskStatus = "waiting"
CARRIED: tuple[TaskStatus, ...] = ("assigned", "picked_up")
"""A courier has it."""
CANCELLABLE: tuple[TaskStatus, ...] = tuple(status for status, ends in MOVES.items() if "cancelled" in ends)
PRESSABLE: tuple[TaskStatus, ...] = ("waiting", "preparing", "ready", "assigned")
"""Before the pick-up: it may still be put before others."""
DECLINABLE: tuple[TaskStatus, ...] = ("waiting", "preparing")
"""The merchant may still say no."""

OFFER_MOVES: Mapping[OfferStatus, frozenset[OfferStatus]] = {
    "open": frozenset({"accepted", "declined", "expired", "withdrawn"}),
    "accepted": frozenset(),
    "declined": frozenset(),
    "expired": frozenset(),
    "withdrawn": frozenset(),
}
SHIPMENT_MOVES: Mapping[ShipmentStatus, frozenset[ShipmentStatus]] = {
    "to_send": frozenset({"sending", "cancelled"}),
    "sending": frozenset({"sent", "cancelled"}),
    "sent": frozenset(),
    "cancelled": frozenset(),
}

TEXT_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
CARRIER_MAX, TRACKING_NUMBER_MAX, DESCRIPTION_MAX, REASON_MAX = 60, 60, 200, 200
TRACKING_MAX = 200
"""Tracking events of one parcel."""
PRIORITY_MAX = 10
"""Steps, both ways; what one is worth says dispatching.Policy."""
POSITIONS_AT_ONCE = 60
TRACK_KEPT = 200
"""Positions kept of one courier."""
ENTRIES_KEPT = 1_000
"""Positions kept in the stream of one order; its status changes are all kept."""


class IllegalMove(Exception):
    """Code asked for a move that the table does not have. A bug, found before it reaches a row."""


def check_move(from_status: TaskStatus, to_status: TaskStatus, who: Who) -> None:
    """Raises IllegalMove."""
    makers = MOVES[from_status].get(to_status)
    if makers is None:
        raise IllegalMove(f"{from_status} → {to_status}")
    if who not in makers:
        raise IllegalMove(f"{from_status} → {to_status} is not for {who}")


class KnownOrder(Struct, frozen=True):
    """A paid order, as delivery has to know it."""

    order_id: int
    customer_id: int
    merchant_id: int
    fulfilment: Literal["parcel", "takeout"]
    destination: Destination | None


class Task(Struct, frozen=True):
    """`version` counts its moves; `step` is under way between us and orders."""

    id: int
    customer_id: int
    merchant_id: int
    status: TaskStatus
    version: int
    pick_up: Place | None
    drop_off: Place | None
    destination: Destination | None
    priority: int
    urgent: bool
    courier_id: int | None
    step: Step | None
    created_ms: int
    changed_ms: int
    ready_ms: int | None
    picked_up_ms: int | None
    delivered_ms: int | None


class Offer(Struct, frozen=True):
    id: int
    task_id: int
    courier_id: int
    status: OfferStatus
    made_ms: int
    expires_ms: int
    distance_m: int


class Courier(Struct, frozen=True):
    """`load` counts what they carry; `delivered_today` is of the UTC day `day`. Without a position `at` is None."""

    id: int
    online: bool
    at: Place | None
    position_ms: int
    heard_ms: int
    load: int
    idle_since_ms: int
    delivered_today: int
    day: int


class Position(Struct, frozen=True):
    """Where a courier was, and when."""

    at: Place
    at_ms: int


class Shipment(Struct, frozen=True):
    order_id: int
    customer_id: int
    merchant_id: int
    status: ShipmentStatus
    carrier: str
    tracking_number: str
    actor: str
    changed_ms: int
    sent_ms: int | None


class Tracking(Struct, frozen=True):
    """What is known of a parcel under way; `n` counts from 1."""

    n: int
    at_ms: int
    description: str
    location: str


def day_of(now_ms: int) -> int:
    return now_ms // 86_400_000


# --- the stream of an order ------------------------------------------------------------------------------------------


class StatusEntry(Struct, frozen=True, tag="status", tag_field="type"):
    """How the order stands now."""

    status: str
    at: str


class PositionEntry(Struct, frozen=True, tag="position", tag_field="type"):
    """Where the courier is."""

    latitude: float
    longitude: float
    at: str
