"""The simulated city: repeatable, whole, and better than two simpler ways."""

from __future__ import annotations

from itertools import pairwise

import pytest

from doorbuster.kernel.places import Place, distance_m
from doorbuster.lab.city.baselines import ours
from doorbuster.lab.city.model import CityPlan, CityReport, Courier, Leg
from doorbuster.lab.city.report import gini_of, mean_of, table_of
from doorbuster.lab.city.run import City, compare, run_city, whereabouts


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
    us, *others = means
    for other in others:
        assert all(mine < theirs for mine, theirs in zip(_figures(us), _figures(other), strict=True))
    # With 40 couriers hardly two are free at once: who rides is no choice, and seeds differ by more than this (1 to 6:
    # 0.114 against 0.102; 13 to 24: 0.096 against 0.107).
    assert us.gini <= others[0].gini + 0.02
    assert "nearest-first" in table_of(means)


@pytest.mark.parametrize("couriers", [40, 85])
def test_better_than_nearest_first_also_when_only_what_is_ready_is_dispatched(couriers: int) -> None:
    """As the shop does it: couriers are asked when the merchant says that it can be fetched."""
    plan = CityPlan(couriers=couriers, ahead=False)
    mine, nearest, _ = mean_of([report for seed in range(1, 5) for report in compare(seed, plan)])
    assert all(each < theirs for each, theirs in zip(_figures(mine), _figures(nearest), strict=True))


def test_nobody_is_asked_before_it_is_ready_unless_dispatched_ahead() -> None:
    for ahead in (True, False):
        city = City(3, CityPlan(orders=80, couriers=30, ahead=ahead))
        city.run(ours)
        early = [
            entry
            for entry in city.log
            if entry.kind == "offered" and entry.ms < city.orders[entry.order_id or 0].task.ready_ms
        ]
        assert bool(early) is ahead


def _figures(report: CityReport) -> list[float]:
    return [report.mean_s, report.p50_s, report.p90_s, report.p99_s, report.late_share]


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
