"""How near to the best a round is, who may overtake whom, and that nobody starves, whatever arrives."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, Policy, dispatch, pressing, score_of
from doorbuster.kernel.places import Place, distance_m

POLICY = Policy()
NOW_MS = 10_000_000
TOWN = st.builds(Place, st.floats(31.1, 31.3), st.floats(121.4, 121.6))
EARTH = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))
KNEE_S = POLICY.promised_s + POLICY.late_after_s
MOST_S = (
    POLICY.travel_weight * POLICY.travel_cap_s
    + POLICY.idle_weight * POLICY.lead_s
    + POLICY.trip_weight * POLICY.trip_cap_s
    + POLICY.urgent_s
    + 20 * POLICY.priority_s
    + POLICY.tolerance_s
)
"""All that can speak for another task: distance, standing idle, a long trip, urgency, priority."""


@st.composite
def a_task(draw: st.DrawFn, task_id: int, now_ms: int, places: st.SearchStrategy[Place]) -> OpenTask:
    since_ms = now_ms - draw(st.integers(0, 7_200_000))
    ready_ms = since_ms + draw(st.integers(0, 1_800_000))
    who = draw(st.frozensets(st.integers(0, 9), max_size=2))
    urgent, priority = draw(st.booleans()), draw(st.integers(-10, 10))
    return OpenTask(task_id, draw(places), draw(places), ready_ms, since_ms, urgent, priority, who)


@st.composite
def small_rounds(draw: st.DrawFn) -> tuple[list[OpenTask], list[FreeCourier]]:
    tasks = [draw(a_task(n, NOW_MS, TOWN)) for n in range(draw(st.integers(1, 5)))]
    couriers = [
        FreeCourier(
            n, draw(TOWN), draw(st.integers(0, 3)), NOW_MS - draw(st.integers(0, 10**7)), draw(st.integers(0, 30))
        )
        for n in range(draw(st.integers(1, 5)))
    ]
    return tasks, couriers


@settings(max_examples=80, deadline=None, derandomize=True)
@given(small_rounds())
def test_within_the_tolerance_of_the_best_of_all_matchings(given_: tuple[list[OpenTask], list[FreeCourier]]) -> None:
    tasks, couriers = given_
    tasks = [
        OpenTask(t.task_id, t.pick_up, t.drop_off, t.ready_ms, t.waiting_since_ms, t.urgent, t.priority, frozenset())
        for t in tasks
        if t.ready_ms - NOW_MS <= POLICY.lead_s * 1000
    ]
    made = dispatch(tasks, couriers, NOW_MS)
    pairs = min(len(tasks), len(couriers))
    assert len(made) == pairs
    scores = [[score_of(task, courier, NOW_MS, POLICY) for courier in couriers] for task in tasks]
    if len(tasks) > len(couriers):
        scores = [list(column) for column in zip(*scores, strict=True)]
    columns = range(max(len(tasks), len(couriers)))
    best = max(
        sum(row[column] for row, column in zip(scores, chosen, strict=True)) for chosen in permutations(columns, pairs)
    )
    # 1 m: the kernel's great circle and the dispatcher's chord
    assert sum(each.score for each in made) >= best - (POLICY.tolerance_s + 1) * pairs


@settings(max_examples=60, deadline=None, derandomize=True)
@given(small_rounds())
def test_nobody_without_a_courier_would_have_been_much_better_for_one(
    given_: tuple[list[OpenTask], list[FreeCourier]],
) -> None:
    """What every bound below rests on: no courier is sent to a task when another, left alone, scores higher for him
    by more than the tolerance."""
    tasks, couriers = given_
    by_id, who = {task.task_id: task for task in tasks}, {courier.courier_id: courier for courier in couriers}
    made = dispatch(tasks, couriers, NOW_MS)
    due = [task for task in tasks if task.ready_ms - NOW_MS <= POLICY.lead_s * 1000]
    if len(due) < len(couriers):
        return  # then only exclusions leave a task alone
    alone = [task for task in due if task.task_id not in {each.task_id for each in made}]
    for each in made:
        courier = who[each.courier_id]
        for task in alone:
            if courier.courier_id not in task.excluded:
                had = score_of(by_id[each.task_id], courier, NOW_MS, POLICY)
                assert score_of(task, courier, NOW_MS, POLICY) <= had + POLICY.tolerance_s + 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_nobody_starves_whatever_arrives(data: st.DataObject) -> None:
    """A task that has waited for KNEE_S + MOST_S / late_weight is not overtaken by any that came more than
    MOST_S / late_weight after it: those before it are finitely many, and each round serves one of them, or it."""
    period_s, far, waiting = data.draw(st.integers(60, 3600)), data.draw(EARTH), dict[int, OpenTask]()
    waiting[0] = OpenTask(0, far, far, 0, 0, False, -10, frozenset())
    gap_s = MOST_S / POLICY.late_weight
    begins_s, n = int(KNEE_S + gap_s) + 1, 0
    for turn in range(data.draw(st.integers(1, 20))):
        now_ms = (begins_s + turn * period_s) * 1000
        for _ in range(data.draw(st.integers(0, 3))):
            n += 1
            at, to = data.draw(EARTH), data.draw(EARTH)
            since_ms = data.draw(st.integers(0, now_ms))
            waiting[n] = OpenTask(n, at, to, since_ms, since_ms, data.draw(st.booleans()), 10, frozenset())
        courier = FreeCourier(1, data.draw(EARTH), 0, 0, 0)
        (made,) = dispatch(list(waiting.values()), [courier], now_ms)
        if made.task_id == 0:
            return
        assert waiting.pop(made.task_id).waiting_since_ms <= gap_s * 1000


def test_late_enough_the_far_and_unloved_goes_first() -> None:
    here, far = Place(0.0, 0.0), Place(0.0, 179.0)
    old = OpenTask(0, far, here, 0, 0, False, -10, frozenset())
    now_ms = int(KNEE_S + MOST_S / POLICY.late_weight + 1) * 1000
    fresh = [OpenTask(n, here, here, now_ms, now_ms, True, 10, frozenset()) for n in range(1, 20)]
    assert [p.task_id for p in dispatch([old, *fresh], [FreeCourier(1, here, 0, 0, 0)], now_ms)] == [0]
    early_ms = 600_000
    fresh = [OpenTask(1, here, here, early_ms, early_ms, True, 10, frozenset())]
    assert [p.task_id for p in dispatch([old, *fresh], [FreeCourier(1, here, 0, 0, 0)], early_ms)] == [1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(0, 1), st.integers(0, int(KNEE_S)), st.booleans())
def test_urgent_overtakes_across_town(share: float, older_s: int, same_age: bool) -> None:
    """Of two tasks with equal trips, the urgent one goes first from up to 2.3 km farther away when both have waited
    as long, and from 1.2 km farther however long the other has waited up to 65 minutes."""
    door = Place(31.2, 121.5)
    there = Place(31.2 + share * (2300 if same_age else 1200) / 111_195, 121.5)
    since_ms = NOW_MS - older_s * 1000
    urgent_since_ms = since_ms if same_age else NOW_MS
    tasks = [
        OpenTask(1, door, door, since_ms, since_ms, False, 0, frozenset()),
        OpenTask(2, there, there, urgent_since_ms, urgent_since_ms, True, 0, frozenset()),
    ]
    assert [p.task_id for p in dispatch(tasks, [FreeCourier(1, door, 0, NOW_MS, 0)], NOW_MS)] == [2]


def test_urgency_grows_faster_towards_the_promised_time_and_is_bounded_after_it() -> None:
    here = Place(0.0, 0.0)
    at = [
        pressing(OpenTask(1, here, here, 0, 0, False, 0, frozenset()), minute * 60_000, POLICY) for minute in range(200)
    ]
    rises = [after - before for before, after in pairwise(at)]
    assert all(rise > 0 for rise in rises)
    assert rises[43] > 3 * rises[20] and rises[50] < rises[43] < rises[100]


def test_nobody_is_asked_long_before_the_goods_are_ready() -> None:
    here, courier = Place(0.0, 0.0), FreeCourier(1, Place(0.0, 0.001), 0, 0, 0)
    ready_ms = NOW_MS + int(POLICY.lead_s * 1000)
    soon = OpenTask(1, here, here, ready_ms, NOW_MS, False, 0, frozenset())
    later = OpenTask(2, here, here, ready_ms + 1, NOW_MS, True, 10, frozenset())
    assert [p.task_id for p in dispatch([later, soon], [courier], NOW_MS)] == [1]


@pytest.mark.parametrize("spots", [1, 40, 3000])
def test_a_large_market_leaves_no_courier_alone(spots: int) -> None:
    places = [Place(31.1 + n % 57 / 300, 121.4 + n // 57 / 300) for n in range(spots)]
    tasks = [OpenTask(n, places[n % spots], places[0], 0, n, n % 20 == 0, 0, frozenset({n % 500})) for n in range(3000)]
    couriers = [FreeCourier(n, places[n * 7 % spots], 0, n, n % 9) for n in range(500)]
    made = dispatch(tasks, couriers, NOW_MS)
    assert len(made) == len({each.task_id for each in made}) == len({each.courier_id for each in made}) == 500
    assert all(each.courier_id not in tasks[each.task_id].excluded for each in made)
    for each in made:
        to, by = tasks[each.task_id], couriers[each.courier_id]
        assert abs(each.distance_m - distance_m(to.pick_up, by.at)) <= 1
        assert abs(each.score - score_of(to, by, NOW_MS, POLICY)) < 1
