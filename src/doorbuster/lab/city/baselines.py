"""Dispatchers to compare."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, Proposal, dispatch
from doorbuster.kernel.places import distance_m
from doorbuster.lab.city.model import Dispatcher


def ours(tasks: Sequence[OpenTask], couriers: Sequence[FreeCourier], now_ms: int) -> list[Proposal]:
    return dispatch(tasks, couriers, now_ms)


def nearest_first(
    tasks: Sequence[OpenTask],
    couriers: Sequence[FreeCourier],
    now_ms: int,  # noqa: ARG001 - a Dispatcher's shape
) -> list[Proposal]:
    """Orders as they came; each gets the nearest courier who is still free."""
    left, made = {courier.courier_id: courier for courier in couriers}, list[Proposal]()
    for task in sorted(tasks, key=lambda each: (each.waiting_since_ms, each.task_id)):
        near = [
            (distance_m(task.pick_up, c.at), c.courier_id) for c in left.values() if c.courier_id not in task.excluded
        ]
        if near:
            metres, courier_id = min(near)
            made.append(Proposal(task.task_id, courier_id, -metres, round(metres)))
            del left[courier_id]
    return made


def shortest_pair(
    tasks: Sequence[OpenTask],
    couriers: Sequence[FreeCourier],
    now_ms: int,  # noqa: ARG001 - a Dispatcher's shape
) -> list[Proposal]:
    """Of all pairs always the shortest, whoever has waited how long."""
    pairs = sorted((distance_m(t.pick_up, c.at), t.task_id, c.courier_id, t.excluded) for t in tasks for c in couriers)
    made, busy = dict[int, Proposal](), set[int]()
    for metres, task_id, courier_id, excluded in pairs:
        if task_id not in made and courier_id not in busy and courier_id not in excluded:
            made[task_id] = Proposal(task_id, courier_id, -metres, round(metres))
            busy.add(courier_id)
    return list(made.values())


DISPATCHERS: dict[str, Dispatcher] = {
    "doorbuster": ours,
    "nearest-first": nearest_first,
    "shortest-pair": shortest_pair,
}
