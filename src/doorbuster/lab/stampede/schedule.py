"""When each click is due: seeded, independent of anything the server does (that is what open loop means)."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

import msgspec

from .buyers import Buyer
from .plan import Plan

DOUBLE_CLICK_S = (0.001, 0.008)  # a nervous finger
CHEAT_S = (0.0, 0.05)  # a second tab, or a script

ClickKind = Literal["first", "first-of-two", "double", "cheat"]


class Click(msgspec.Struct, frozen=True, gc=False):
    """One request, to be sent `due_s` seconds after the start.

    `double` repeats the key of a `first-of-two`.
    """

    due_s: float
    kind: ClickKind
    buyer: Buyer
    key: str


def clicks(plan: Plan, buyers: Sequence[Buyer], run_id: str) -> Iterator[Click]:
    """All clicks of a run in order of their due time. Holds only those of the next 50 ms in memory."""
    chance = Random(plan.seed)
    later: list[tuple[float, int, Click]] = []
    for number, due_s in enumerate(_arrivals(plan, len(buyers), chance)):
        while later and later[0][0] <= due_s:
            yield heapq.heappop(later)[2]
        buyer = buyers[number % len(buyers)]
        key = f"{run_id}-{number:x}"
        doubled = chance.random() < plan.double_click_share
        yield Click(due_s, "first-of-two" if doubled else "first", buyer, key)
        if doubled:
            again_s = due_s + chance.uniform(*DOUBLE_CLICK_S)
            heapq.heappush(later, (again_s, 2 * number, Click(again_s, "double", buyer, key)))
        if chance.random() < plan.cheat_share:
            again_s = due_s + chance.uniform(*CHEAT_S)
            heapq.heappush(later, (again_s, 2 * number + 1, Click(again_s, "cheat", buyer, key + "-b")))
    while later:
        yield heapq.heappop(later)[2]


def _arrivals(plan: Plan, buyers: int, chance: Random) -> Iterator[float]:
    count, rate_per_s = plan.arrivals_of(buyers), plan.rate_of(buyers)
    if plan.spacing == "uniform":
        for number in range(count):
            yield number / rate_per_s
        return
    due_s = 0.0
    for _ in range(count):
        due_s += chance.expovariate(rate_per_s)
        yield due_s
