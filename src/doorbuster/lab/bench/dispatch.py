"""One round of dispatch at full size, next to nearest-first and chance."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar

from msgspec import Struct

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, Policy, dispatch, score_of
from doorbuster.kernel.places import Place, distance_m
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.table import circumstances


class DispatchResult(Struct, frozen=True):
    """Distances are to the pick-up, in metres; `seconds_per_round` is processor time, the best of the rounds."""

    tasks: int
    couriers: int
    seconds_per_round: float
    proposals: int
    median_m: float
    p95_m: float
    nearest_median_m: float
    nearest_p95_m: float
    random_median_m: float
    random_p95_m: float
    worst_of_best_30x30: float
    """The worst sum of 20 small rounds less the best possible, in seconds for each courier; 0 is optimal."""


class DispatchReport(Measured, frozen=True, kw_only=True):
    """What `doorbuster bench dispatch` found. It is pure computing: there is no store, and nothing to be durable."""

    name: ClassVar[str] = "dispatch"
    figures: DispatchResult

    def as_json(self) -> dict[str, Any]:
        """The figures stand beside the circumstances, not below a name."""
        content = super().as_json()
        return {name: of for name, of in content.items() if name != "figures"} | content["figures"]

    def table(self) -> str:
        found = self.as_json()
        worst_s = found["worst_of_best_30x30"]
        return "\n".join(
            [
                f"One round of dispatch on one core: {found['tasks']} open tasks, {found['couriers']} free couriers",
                f"  {found['seconds_per_round']:.3f} s of processor time, {found['proposals']} couriers assigned",
                f"  {'metres to the pick-up':22} {'median':>8} {'p95':>8}",
                f"  {'ours':22} {found['median_m']:8.0f} {found['p95_m']:8.0f}",
                f"  {'nearest first':22} {found['nearest_median_m']:8.0f} {found['nearest_p95_m']:8.0f}",
                f"  {'by chance':22} {found['random_median_m']:8.0f} {found['random_p95_m']:8.0f}",
                f"  of 20 rounds of 30 x 30 the worst is {worst_s:.2f} s a courier from the optimum",
                "",
                *circumstances(found),
            ]
        )


def measure_dispatch(
    tasks: int, couriers: int, seed: int, rounds: int, command: str, say: Callable[[str], None]
) -> DispatchReport:
    machine = describe_machine()
    figures = run_dispatch(tasks, couriers, seed, rounds)
    say(f"dispatch {figures.seconds_per_round:.3f} s per round")
    due = min(tasks, couriers)
    broken = [] if figures.proposals == due else [f"dispatch: {figures.proposals} assigned, {due} could be"]
    return DispatchReport(machine=machine, command=command, breaches=broken, figures=figures)


def run_dispatch(tasks: int = 10_000, couriers: int = 2_000, seed: int = 1, rounds: int = 3) -> DispatchResult:
    """The best of `rounds`; nearest-first takes tasks oldest first and gives each its nearest free courier."""
    chance = random.Random(seed)

    def somewhere() -> Place:
        return Place(31.2 + chance.uniform(-0.1, 0.1), 121.5 + chance.uniform(-0.1, 0.1))

    now_ms = 3_600_000
    open_ = [
        OpenTask(n, somewhere(), somewhere(), now_ms, chance.randrange(now_ms), chance.random() < 0.05, 0, frozenset())
        for n in range(tasks)
    ]
    free = [FreeCourier(n, somewhere(), 0, chance.randrange(now_ms), chance.randrange(20)) for n in range(couriers)]
    seconds = list[float]()
    proposals = dispatch(open_[:1], free[:1], now_ms)
    for _ in range(rounds):
        begun = time.process_time()
        proposals = dispatch(open_, free, now_ms)
        seconds.append(time.process_time() - begun)
    left, nearest = dict(enumerate(free)), list[float]()
    for task in sorted(open_, key=lambda each: (each.waiting_since_ms, each.task_id))[:couriers]:
        distance, key = min((distance_m(task.pick_up, courier.at), key) for key, courier in left.items())
        nearest.append(distance)
        del left[key]
    pairs = zip(chance.sample(open_, min(tasks, couriers)), free, strict=False)
    by_chance = [distance_m(task.pick_up, courier.at) for task, courier in pairs]
    ours = [float(each.distance_m) for each in proposals]
    return DispatchResult(
        tasks,
        couriers,
        min(seconds),
        len(proposals),
        _at(ours, 0.5),
        _at(ours, 0.95),
        _at(nearest, 0.5),
        _at(nearest, 0.95),
        _at(by_chance, 0.5),
        _at(by_chance, 0.95),
        max(gap_to_optimum(30, 30, seed + n) for n in range(20)),
    )


def gap_to_optimum(tasks: int, couriers: int, seed: int) -> float:
    """What the sum of scores of one round falls short of the highest possible, in seconds for each pair made."""
    chance, now_ms = random.Random(seed), 3_600_000

    def somewhere() -> Place:
        return Place(31.2 + chance.uniform(-0.05, 0.05), 121.5 + chance.uniform(-0.05, 0.05))

    open_ = [
        OpenTask(n, somewhere(), somewhere(), now_ms, chance.randrange(now_ms), chance.random() < 0.1, 0, frozenset())
        for n in range(tasks)
    ]
    free = [FreeCourier(n, somewhere(), 0, chance.randrange(now_ms), chance.randrange(20)) for n in range(couriers)]
    made = dispatch(open_, free, now_ms)
    costs = [[-score_of(task, courier, now_ms, Policy()) for courier in free] for task in open_]
    if tasks > couriers:
        costs = [list(row) for row in zip(*costs, strict=True)]
    return (-least_cost(costs) - sum(each.score for each in made)) / max(len(made), 1)


def least_cost(costs: list[list[float]]) -> float:
    """Of all ways to give each row a column of its own, the least sum (Kuhn 1955, with potentials; at most as many
    rows as columns)."""
    rows, columns = len(costs), len(costs[0])
    of_row, of_column, row_at = [0.0] * (rows + 1), [0.0] * (columns + 1), [0] * (columns + 1)
    for row in range(1, rows + 1):
        row_at[0], column = row, 0
        least, before, used = [inf] * (columns + 1), [0] * (columns + 1), [False] * (columns + 1)
        while row_at[column]:
            used[column] = True
            here, delta, next_column = row_at[column], inf, 0
            for j in range(1, columns + 1):
                if not used[j]:
                    reduced = costs[here - 1][j - 1] - of_row[here] - of_column[j]
                    if reduced < least[j]:
                        least[j], before[j] = reduced, column
                    if least[j] < delta:
                        delta, next_column = least[j], j
            for j in range(columns + 1):
                if used[j]:
                    of_row[row_at[j]] += delta
                    of_column[j] -= delta
                else:
                    least[j] -= delta
            column = next_column
        while column:
            row_at[column] = row_at[before[column]]
            column = before[column]
    return sum(costs[row_at[j] - 1][j - 1] for j in range(1, columns + 1) if row_at[j])


def _at(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0
