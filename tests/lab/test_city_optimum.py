"""Rounds of the dispatcher next to the optimum, at the size of a quarter of the town."""

from __future__ import annotations

from itertools import permutations

import pytest

from doorbuster.contexts.delivery.dispatching import Policy
from doorbuster.lab.bench.dispatch import gap_to_optimum, least_cost, run_dispatch


@pytest.mark.parametrize(("tasks", "couriers"), [(30, 30), (20, 30), (60, 40)])
def test_a_round_is_within_the_tolerance_of_the_optimum(tasks: int, couriers: int) -> None:
    assert max(gap_to_optimum(tasks, couriers, seed) for seed in range(5)) <= Policy().tolerance_s


def test_the_optimum_is_one() -> None:
    costs = [[4.0, 1.0, 3.0, 9.0], [2.0, 0.0, 5.0, 9.0], [3.0, 2.0, 2.0, -1.0]]
    best = min(sum(costs[row][column] for row, column in enumerate(each)) for each in permutations(range(4), 3))
    assert least_cost(costs) == best


def test_the_bench_gives_every_courier_a_task_nearby() -> None:
    result = run_dispatch(tasks=1000, couriers=200, rounds=1)
    assert result.proposals == 200
    assert result.median_m < result.random_median_m / 4
