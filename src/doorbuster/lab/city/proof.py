"""The log of a city is read again, by rules that share nothing with the code that wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from doorbuster.kernel.places import Place, distance_m
from doorbuster.lab.city.model import BrokenCity, CityPlan, Entry, Order

_NEXT: dict[str, tuple[str, ...]] = {
    "": ("placed",),
    "placed": ("offered", "cancelled"),
    "offered": ("accepted", "declined", "expired", "withdrawn"),
    "declined": ("offered", "cancelled"),
    "expired": ("offered", "cancelled"),
    "reassigned": ("offered", "cancelled"),
    "accepted": ("picked_up", "reassigned", "withdrawn"),
    "withdrawn": ("cancelled",),
    "picked_up": ("delivered",),
    "delivered": (),
    "cancelled": (),
}
_TAKES = ("offered",)
_GIVES_BACK = ("declined", "expired", "withdrawn", "reassigned", "delivered")
_SLACK_M = 5.0


class _Seen(Struct):
    kind: str = ""
    ms: int = 0
    courier_id: int | None = None


class _Walker(Struct):
    ms: int
    at: Place
    order_id: int | None = None
    gone_ms: int | None = None


def check(log: Sequence[Entry], orders: Mapping[int, Order], plan: CityPlan) -> None:
    """Raises BrokenCity for an order delivered without pick-up or picked up before it was ready, with two couriers,
    or that never ends; for a courier with two offers or orders at once, who jumps, or who acts after he was last
    heard of; for an offer open too long and an order left with somebody who is gone."""
    seen, walkers = dict[int, _Seen](), dict[int, _Walker]()
    for entry in log:
        if entry.courier_id is not None:
            _check_courier(entry, walkers, plan)
        if entry.order_id is not None:
            _check_order(entry, seen.setdefault(entry.order_id, _Seen()), orders, plan)
            _check_gone(entry, walkers, plan)
    for order_id in orders:
        if seen.get(order_id, _Seen()).kind not in ("delivered", "cancelled"):
            raise BrokenCity(f"order {order_id} does not end")


def _check_order(entry: Entry, seen: _Seen, orders: Mapping[int, Order], plan: CityPlan) -> None:
    order_id = entry.order_id
    if order_id is None or order_id not in orders:
        raise BrokenCity(f"nobody placed order {order_id}")
    if entry.kind not in _NEXT[seen.kind]:
        raise BrokenCity(f"order {order_id}: {entry.kind} after {seen.kind or 'nothing'}")
    if entry.ms < seen.ms:
        raise BrokenCity(f"order {order_id}: {entry.kind} before {seen.kind}")
    if seen.courier_id is not None and entry.courier_id != seen.courier_id:
        raise BrokenCity(f"order {order_id}: couriers {seen.courier_id} and {entry.courier_id} at once")
    if seen.kind == "offered" and entry.ms > seen.ms + (plan.offer_s + plan.step_s) * 1000:
        raise BrokenCity(f"order {order_id}: an offer stays open")
    task = orders[order_id].task
    if entry.kind == "picked_up" and (entry.ms < task.ready_ms or entry.at != task.pick_up):
        raise BrokenCity(f"order {order_id}: picked up too early or elsewhere")
    if entry.kind == "delivered" and (entry.at is None or distance_m(entry.at, task.drop_off) > _SLACK_M):
        raise BrokenCity(f"order {order_id}: delivered elsewhere")
    seen.kind, seen.ms = entry.kind, entry.ms
    seen.courier_id = None if entry.kind in _GIVES_BACK else entry.courier_id


def _check_courier(entry: Entry, walkers: dict[int, _Walker], plan: CityPlan) -> None:
    assert entry.courier_id is not None
    if entry.at is None:
        raise BrokenCity(f"courier {entry.courier_id} is nowhere")
    walker = walkers.setdefault(entry.courier_id, _Walker(entry.ms, entry.at))
    way_m = distance_m(walker.at, entry.at)
    if way_m > (entry.ms - walker.ms) / 1000 * plan.speed_m_per_s + _SLACK_M:
        raise BrokenCity(f"courier {entry.courier_id} jumps {way_m:.0f} m")
    if walker.gone_ms is not None and entry.kind in ("accepted", "declined", "picked_up", "delivered"):
        raise BrokenCity(f"courier {entry.courier_id}: {entry.kind} after he was gone")
    if entry.kind in _TAKES and walker.order_id is not None:
        raise BrokenCity(f"courier {entry.courier_id}: orders {walker.order_id} and {entry.order_id} at once")
    if entry.kind not in (*_TAKES, "gone") and walker.order_id != entry.order_id:
        raise BrokenCity(f"courier {entry.courier_id}: {entry.kind} of an order that is not his")
    walker.ms, walker.at = entry.ms, entry.at
    if entry.kind == "gone":
        walker.gone_ms = entry.ms
    elif entry.kind in _TAKES:
        walker.order_id = entry.order_id
    elif entry.kind in _GIVES_BACK:
        walker.order_id = None


def _check_gone(entry: Entry, walkers: Mapping[int, _Walker], plan: CityPlan) -> None:
    if entry.courier_id is None:
        return
    gone_ms = walkers[entry.courier_id].gone_ms
    late = gone_ms is not None and entry.ms > gone_ms + (plan.lost_s + plan.offer_s + plan.step_s) * 1000
    if entry.kind == "reassigned" and gone_ms is None:
        raise BrokenCity(f"order {entry.order_id}: taken from somebody who was there")
    if late:
        raise BrokenCity(f"order {entry.order_id}: with courier {entry.courier_id}, who is long gone")
