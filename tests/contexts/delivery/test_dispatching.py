"""Who is proposed for what, as properties of one round and of many."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, dispatch
from doorbuster.kernel.places import Place, distance_m

PLACES = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180)) | st.just(Place(31.2, 121.5))
NOW_MS = 10_000_000


def task(task_id: int, at: Place, since_ms: int = 0, urgent: bool = False, excluded: frozenset[int] = frozenset()):
    return OpenTask(task_id, at, at, since_ms, since_ms, urgent, 0, excluded)


def courier(courier_id: int, at: Place, delivered: int = 0, load: int = 0, idle_since_ms: int = NOW_MS) -> FreeCourier:
    return FreeCourier(courier_id, at, load, idle_since_ms, delivered)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[OpenTask], list[FreeCourier]]:
    tasks = [
        task(n, draw(PLACES), draw(st.integers(0, NOW_MS)), draw(st.booleans()), draw(st.frozensets(st.integers(0, 9))))
        for n in range(draw(st.integers(0, 12)))
    ]
    return tasks, [courier(n, draw(PLACES)) for n in range(draw(st.integers(0, 10)))]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rounds(), st.randoms(use_true_random=False))
def test_one_each_excluded_respected_and_order_of_input_is_nothing(
    given_: tuple[list[OpenTask], list[FreeCourier]], chance: random.Random
) -> None:
    tasks, couriers = given_
    made = dispatch(tasks, couriers, NOW_MS)
    assert len({p.task_id for p in made}) == len({p.courier_id for p in made}) == len(made)
    assert all(p.courier_id not in tasks[p.task_id].excluded for p in made)
    mixed_tasks, mixed_couriers = list(tasks), list(couriers)
    chance.shuffle(mixed_tasks)
    chance.shuffle(mixed_couriers)
    assert dispatch(mixed_tasks, mixed_couriers, NOW_MS) == made


@settings(max_examples=40, deadline=None, derandomize=True)
@given(PLACES, PLACES, st.integers(0, 800))
def test_urgent_overtakes_at_the_same_door(door: Place, there: Place, longer_s: int) -> None:
    tasks = [task(1, door, NOW_MS - longer_s * 1000), task(2, door, NOW_MS, urgent=True)]
    assert [p.task_id for p in dispatch(tasks, [courier(1, there)], NOW_MS)] == [2]


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_nobody_starves_under_steady_arrivals(seed: int) -> None:
    """One courier, one task a minute at his feet: the far one is fetched within the travel cap's worth of waiting."""
    chance, here = random.Random(seed), Place(0.0, 0.0)
    far, waiting = Place(chance.uniform(-60, 60), chance.uniform(90, 180)), dict[int, OpenTask]()
    waiting[0] = task(0, far)
    for minute in range(1, 300):
        now_ms = minute * 60_000
        waiting[minute] = task(minute, here, now_ms)
        (made,) = dispatch(list(waiting.values()), [courier(1, here)], now_ms)
        del waiting[made.task_id]
        if made.task_id == 0:
            return
    raise AssertionError("starved")


def test_empty_one_point_poles_and_the_antimeridian() -> None:
    here = Place(31.2, 121.5)
    assert dispatch([], [], 0) == dispatch([task(1, here)], [], 0) == dispatch([], [courier(1, here)], 0) == []
    crowd = dispatch([task(n, here) for n in range(300)], [courier(n, here) for n in range(200)], NOW_MS)
    assert len(crowd) == 200
    couriers = [courier(1, Place(0.0, -179.999)), courier(2, Place(0.0, 179.0))]
    assert dispatch([task(1, Place(0.0, 179.999))], couriers, NOW_MS)[0].courier_id == 1
    pole = dispatch([task(1, Place(90.0, 0.0))], [courier(1, Place(89.999, 180.0)), courier(2, here)], NOW_MS)
    assert pole[0].courier_id == 1


def test_fairness_breaks_a_tie_and_load_counts() -> None:
    here = Place(0.0, 0.0)
    assert dispatch([task(1, here)], [courier(1, here, delivered=9), courier(2, here)], NOW_MS)[0].courier_id == 2
    assert dispatch([task(1, here)], [courier(1, here, load=1), courier(2, here)], NOW_MS)[0].courier_id == 2
    idle = [courier(1, here), courier(2, here, idle_since_ms=0)]
    assert dispatch([task(1, here)], idle, NOW_MS)[0].courier_id == 2


def test_a_degree_of_the_equator() -> None:
    assert round(distance_m(Place(0.0, 0.0), Place(0.0, 1.0))) == 111_195
