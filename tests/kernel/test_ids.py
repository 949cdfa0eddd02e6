"""Snowflakes: unique and rising, whatever the clock does and however many threads ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import (
    EPOCH_MS,
    ID_MAX,
    SEQUENCES,
    SHARDS,
    WORKERS,
    InvalidId,
    Snowflake,
    instant_of,
    parse_id,
    shard_of,
)

NOW_MS = 1_790_000_000_000
shards = st.integers(0, SHARDS - 1)


def worker_of(snowflake: int) -> int:
    return snowflake // SEQUENCES % WORKERS


def owner_on(shard: int) -> int:
    """Some id whose shard is `shard`."""
    return next(owner for owner in iter(Snowflake(ManualClock(NOW_MS), 0).next_owner, 0) if shard_of(owner) == shard)


@given(st.lists(st.integers(-5_000, 5_000), max_size=60), shards)
def test_ids_rise_however_the_clock_steps(steps_ms: list[int], shard: int):
    clock = ManualClock(NOW_MS)
    ids = Snowflake(clock, worker=3)
    owner = owner_on(shard)
    made: list[int] = []
    for step_ms in steps_ms:
        clock.advance(step_ms)
        made += [ids.next(owner) for _ in range(3)]
    assert made == sorted(set(made))


def test_they_are_63_bits_and_tell_time_shard_and_worker():
    ids = Snowflake(ManualClock(NOW_MS), worker=WORKERS - 1)
    made = ids.next(owner_on(SHARDS - 1))
    assert 0 < made <= ID_MAX
    assert (instant_of(made), shard_of(made), worker_of(made)) == (NOW_MS, SHARDS - 1, WORKERS - 1)
    assert (made + 1) % SEQUENCES == 1, "the first of its millisecond"


def test_time_reaches_to_2095():
    assert instant_of(ID_MAX) > EPOCH_MS + 69 * 365 * 24 * 3600 * 1000


def test_more_than_1024_in_a_millisecond_go_on_in_the_next_and_stay_there():
    clock = ManualClock(NOW_MS)
    ids = Snowflake(clock, worker=0)
    made = [ids.next() for _ in range(3 * SEQUENCES + 1)]
    assert made == sorted(set(made))
    assert instant_of(made[-1]) == ids.last_ms == NOW_MS + 3
    clock.advance(2)
    assert ids.next() > made[-1], "the clock is still behind the ids"
    clock.advance(2)
    assert instant_of(ids.next()) == NOW_MS + 4, "and the ids are back with it"


def test_a_clock_that_was_set_back_an_hour_repeats_nothing():
    clock = ManualClock(NOW_MS)
    ids = Snowflake(clock, worker=0)
    before = [ids.next() for _ in range(10)]
    clock.advance(-3_600_000)
    after = [ids.next() for _ in range(2 * SEQUENCES)]
    assert min(after) > max(before)
    assert len(set(after)) == len(after)
    assert instant_of(after[-1]) <= NOW_MS + 2


def test_a_clock_before_the_epoch_still_makes_ids():
    made = Snowflake(ManualClock(0), worker=0).next()
    assert instant_of(made) == EPOCH_MS


def test_threads_share_a_generator_without_repeats():
    ids = Snowflake(SystemClock(), worker=5)
    gate = threading.Barrier(8)

    def make(_: int) -> list[int]:
        gate.wait()
        return [ids.next() for _ in range(2_500)]

    with ThreadPoolExecutor(8) as threads:
        lists = list(threads.map(make, range(8)))
    everything = [made for each in lists for made in each]
    assert len(set(everything)) == 20_000
    assert all(each == sorted(each) for each in lists)


def test_workers_never_meet():
    clock = ManualClock(NOW_MS)
    generators = [Snowflake(clock, worker) for worker in range(WORKERS)]
    made = [ids.next() for ids in generators for _ in range(10)]
    assert len(set(made)) == 10 * WORKERS


@pytest.mark.parametrize("worker", [-1, WORKERS])
def test_a_worker_number_that_does_not_fit_is_refused(worker: int):
    with pytest.raises(ValueError, match="worker number"):
        Snowflake(ManualClock(NOW_MS), worker)


@given(st.integers(0, 3 * SEQUENCES), st.integers(-60_000, 60_000))
def test_after_a_restart_ids_go_on_above_the_floor(count: int, clock_moved_ms: int):
    clock = ManualClock(NOW_MS)
    first = Snowflake(clock, worker=9)
    before = [first.next() for _ in range(count)]
    clock.advance(clock_moved_ms)
    second = Snowflake(clock, worker=9, floor_ms=first.last_ms + 1)
    after = [second.next() for _ in range(3)]
    assert [*before, *after] == sorted({*before, *after})


@given(shards)
def test_what_belongs_to_somebody_is_on_their_shard(shard: int):
    ids = Snowflake(ManualClock(NOW_MS), worker=1)
    owner = owner_on(shard)
    order = ids.next(owner)
    payment = ids.next(order)
    assert shard_of(owner) == shard_of(order) == shard_of(payment) == shard


def test_new_owners_are_spread_over_all_shards():
    ids = Snowflake(ManualClock(NOW_MS), worker=17)
    seen = [shard_of(ids.next_owner()) for _ in range(2 * SHARDS)]
    assert sorted(seen) == sorted([*range(SHARDS)] * 2)


def test_without_an_owner_the_shard_is_the_first():
    assert shard_of(Snowflake(ManualClock(NOW_MS), worker=1).next()) == 0


@given(st.integers(0, ID_MAX))
def test_an_id_survives_its_text(number: int):
    assert parse_id(str(number)) == number


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+1", "1.0", "1e3", "0x1", "abc", "1 ", "1\n", "١٢", "²", "1_0", str(ID_MAX + 1), "9" * 5000],
)
def test_what_is_no_id_is_refused_and_quoted_briefly(text: str):
    with pytest.raises(InvalidId) as refused:
        parse_id(text)
    assert len(refused.value.detail) < 80
