"""The simulated city: repeatable, whole, and better than two simpler ways."""

from __future__ import annotations

from itertools import pairwise

import pytest

from doorbuster.kernel.places import Place, distance_m
from doorbuster.lab.city.model import CityPlan, CityReport, Courier, Leg
from doorbuster.lab.city.report import gini_of, mean_of, table_of
from doorbuster.lab.city.run import compare, run_city, whereabouts


def test_same_seed_same_city() -> None:
    plan = CityPlan(orders=80, couriers=15)
    assert run_city(7, plan=plan) == run_city(7, plan=plan)


def test_every_order_ends_with_declines_silence_and_couriers_who_are_gone() -> None:
    plan = CityPlan(gone_share=0.4, cancel_share=0.3, silent_share=0.1)
    reports = [run_city(seed, plan=plan) for seed in range(3)]
    assert all(report.delivered + report.cancelled == report.orders for report in reports)
    assert all(report.declined and report.expired and report.cancelled and report.reassigned for report in reports)


@pytest.mark.parametrize("couriers", [40, 60, 85])
def test_better_than_nearest_first_and_shortest_pair_on_the_mean_of_the_seeds(couriers: int) -> None:
    """By the median, both slow ends, and lateness. Fairness: no more uneven than nearest-first, within noise."""
    means = mean_of([report for seed in range(1, 7) for report in compare(seed, CityPlan(couriers=couriers))])
    ours, *others = means
    for other in others:
        assert all(mine < theirs for mine, theirs in zip(_figures(ours), _figures(other), strict=True))
    assert ours.gini <= others[0].gini + 0.01
    assert "nearest-first" in table_of(means)


def _figures(report: CityReport) -> list[float]:
    return [report.p50_s, report.p90_s, report.p99_s, report.late_share]


def test_a_courier_is_somewhere_on_his_way() -> None:
    start, goal = Place(31.2, 121.5), Place(31.21, 121.52)
    courier = Courier(1, start, 0, None, Leg(start, goal, 1000, 601_000))
    assert whereabouts(courier, 0) == whereabouts(courier, 1000) == start
    assert whereabouts(courier, 601_000) == whereabouts(courier, 10**9) == goal
    way = [whereabouts(courier, ms) for ms in range(1000, 602_000, 1000)]
    steps = [distance_m(a, b) for a, b in pairwise(way)]
    assert max(steps) < 1.01 * sum(steps) / len(steps)


def test_gini() -> None:
    assert gini_of([3, 3, 3]) == gini_of([]) == 0.0
    assert gini_of([0, 0, 0, 8]) == 0.75
