"""Who lives in the city, what is written down about them, and what is reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, Proposal
from doorbuster.kernel.places import Place

Dispatcher = Callable[[Sequence[OpenTask], Sequence[FreeCourier], int], list[Proposal]]


class CityPlan(Struct, frozen=True):
    """Times in seconds; shares in 0..1."""

    orders: int = 400
    couriers: int = 60
    restaurants: int = 24
    rush_s: int = 7200
    speed_m_per_s: float = 5.0
    offer_s: int = 30
    step_s: int = 10
    promised_s: int = 2700
    late_start_s: int = 1800
    """A third of the couriers come online only within this time."""
    lost_s: int = 180
    """A courier not heard of for so long is offline, and his order is given to others by the sweeper."""
    urgent_share: float = 0.05
    decline_share: float = 0.08
    silent_share: float = 0.04
    """Of offers that are simply not answered."""
    gone_share: float = 0.06
    """Of couriers who at some time are not heard of again."""
    cancel_share: float = 0.03
    give_up_s: int = 28_800
    ahead: bool = True
    """Whether orders are dispatched while they are still prepared. The shop knows no preparation times and dispatches
    what is ready."""


class Order(Struct):
    task: OpenTask
    placed_ms: int
    cancel_ms: int | None
    status: Literal["open", "offered", "assigned", "picked_up", "delivered", "cancelled"] = "open"
    ended_ms: int | None = None
    excluded: frozenset[int] = frozenset()


class Leg(Struct, frozen=True):
    """A way through the streets: first east or west, then north or south."""

    start: Place
    goal: Place
    started_ms: int
    arrives_ms: int


class Courier(Struct):
    """Stands at `at` unless he is on a `leg`; `due_ms`: when what he does next is done."""

    courier_id: int
    at: Place
    online_ms: int
    gone_ms: int | None
    leg: Leg | None = None
    order_id: int | None = None
    offer_until_ms: int | None = None
    due_ms: int = 0
    idle_since_ms: int = 0
    delivered: int = 0
    silent_ms: int | None = None
    """Since when he is not heard of, and stands where he was."""
    offline: bool = False


Kind = Literal[
    "placed",
    "offered",
    "accepted",
    "declined",
    "expired",
    "withdrawn",
    "picked_up",
    "delivered",
    "cancelled",
    "gone",
    "reassigned",
]


class Entry(Struct, frozen=True):
    """A line of the city's log; `at` is where the courier was, or for `placed` where the goods are fetched."""

    ms: int
    kind: Kind
    order_id: int | None
    courier_id: int | None
    at: Place | None


class CityReport(Struct, frozen=True):
    """Delivery times from order to door in seconds: their mean, and percentiles. `gini` of deliveries per courier's
    hour online, 0 is even."""

    seed: int
    policy: str
    orders: int
    delivered: int
    cancelled: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    late_share: float
    gini: float
    declined: int
    expired: int
    reassigned: int


class BrokenCity(AssertionError):
    """An invariant of the simulation does not hold."""
