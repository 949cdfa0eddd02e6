"""What each way to count promises, on both engines."""

from __future__ import annotations

import asyncio

import pytest

from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.algorithms.sliding_window import SlidingWindow
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.port import Policy

from .bench import Bench

ALL = [TokenBucket, LeakyBucket, FixedWindow, SlidingWindow]
each = pytest.mark.parametrize("algorithm", ALL)


def thresholds(limit: int, period_s: float = 60.0) -> dict[str, object]:
    """So that an idle key may take `limit` at once, whatever the algorithm."""
    return {"limit": limit, "period_s": period_s, "queue": max(0, limit - 1)}


class TestEvery:
    @each
    async def test_a_burst_is_admitted_up_to_the_limit(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(5))
        decisions = [await bench.take() for _ in range(8)]
        assert [each.allowed for each in decisions] == [True] * 5 + [False] * 3
        assert [each.remaining for each in decisions] == [4, 3, 2, 1, 0, 0, 0, 0]
        assert {each.limit for each in decisions} == {5}

    @each
    async def test_tasks_at_once_get_exactly_the_limit(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(50))
        decisions = await asyncio.gather(*[bench.take() for _ in range(400)])
        assert sum(each.allowed for each in decisions) == 50

    @each
    async def test_keys_do_not_share(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(2))
        assert await bench.admitted(5, "a") == 2
        assert await bench.admitted(5, "b") == 2
        assert await bench.admitted(5, "b" * 500) == 2
        assert await bench.admitted(5, "b" * 499 + "c") == 2
        assert await bench.admitted(5, "}a{ \r\n") == 2

    @each
    async def test_a_cost_is_taken_whole_or_not_at_all(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(5))
        assert (await bench.take(cost=3)).remaining == 2
        refused = await bench.take(cost=3)
        assert (refused.allowed, refused.remaining) == (False, 2)
        assert (await bench.take(cost=2)).allowed
        assert not (await bench.take("other", cost=6)).allowed
        with pytest.raises(ValueError, match="one unit"):
            await bench.take(cost=0)

    @each
    async def test_who_waits_as_told_gets_in(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(7, 3.0))
        await bench.admitted(7)
        for cost in (1, 3, 2, 7, 1):
            refused = await bench.take(cost=cost)
            assert not refused.allowed
            assert refused.retry_after_s > 0
            await bench.advance(refused.retry_after_s - 0.000_001)
            assert not (await bench.take(cost=cost)).allowed
            await bench.advance(0.000_001)
            assert (await bench.take(cost=cost)).allowed
            await bench.admitted(7)

    @each
    async def test_a_key_is_idle_after_reset(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(4, 10.0))
        await bench.admitted(2)
        await bench.advance(1)
        reset_s = (await bench.take()).reset_s
        await bench.advance(reset_s)
        assert (await bench.take()).remaining == 3
        assert await bench.admitted(9) == 3

    @each
    async def test_a_raised_limit_counts_at_once_and_forgives_nothing(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(5))
        assert await bench.admitted(9) == 5
        bench.change(**thresholds(8, 96.0 if algorithm is LeakyBucket else 60.0))  # a queue at the same pace
        assert await bench.admitted(9) == 3

    @each
    async def test_a_lowered_limit_counts_at_once_and_charges_nothing_twice(
        self, bench: Bench, algorithm: type[Algorithm]
    ):
        pace_s = 12.0
        await bench.open(algorithm(), **thresholds(8, 8 * pace_s))
        assert await bench.admitted(5) == 5
        bench.change(**thresholds(4, 4 * pace_s))
        refused = await bench.take()
        assert (refused.allowed, refused.remaining) == (False, 0)
        bench.change(**thresholds(8, 8 * pace_s))
        assert await bench.admitted(9) == 3

    @each
    async def test_changing_there_and_back_changes_nothing(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(6))
        assert await bench.admitted(4) == 4
        for limit in (60, 1, 1000, 6) * 3:
            bench.change(**thresholds(limit, 10.0 * limit))
            assert not (await bench.take(cost=limit + 1)).allowed
        bench.change(**thresholds(6))
        assert await bench.admitted(9) == 2

    @each
    async def test_a_limit_of_zero_is_closed_and_off_is_open(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), limit=0, period_s=5.0)
        refused = await bench.take()
        assert (refused.allowed, refused.limit, refused.remaining) == (False, 0, 0)
        assert (refused.retry_after_s, bench.limiter.policy) == (5.0, Policy(0, 5.0))
        bench.change(**thresholds(1), enabled=False)
        assert await bench.admitted(20) == 20
        bench.change(**thresholds(1))
        assert await bench.admitted(20) == 1

    @each
    async def test_a_clock_set_back_neither_frees_nor_locks(self, bench: Bench, algorithm: type[Algorithm]):
        await bench.open(algorithm(), **thresholds(4, 8.0))
        assert await bench.admitted(9) == 4
        await bench.advance(-3600)
        assert await bench.admitted(9) == 0
        await bench.advance(8.8)  # one slot of the sliding window more than the period
        assert await bench.admitted(9) == 4


class TestTokenBucket:
    async def test_it_refills_steadily_up_to_the_burst(self, bench: Bench):
        await bench.open(TokenBucket(), limit=10, period_s=1.0, burst=3)
        assert await bench.admitted(9) == 3
        await bench.advance(0.1)
        assert await bench.admitted(9) == 1
        await bench.advance(0.25)
        assert await bench.admitted(9) == 2
        await bench.advance(0.05)
        assert await bench.admitted(9) == 1, "halves are kept"
        await bench.advance(3600)
        assert await bench.admitted(9) == 3
        assert bench.limiter.policy == Policy(3, 0.3)

    async def test_a_changed_rate_credits_each_stretch_once(self, bench: Bench):
        await bench.open(TokenBucket(), limit=100, period_s=100.0)
        assert await bench.admitted(200) == 100
        await bench.advance(10)
        bench.change(limit=100, period_s=10.0)
        assert await bench.admitted(200) == 10, "those ten seconds gave one a second"
        await bench.advance(1)
        assert await bench.admitted(200) == 10, "and this one ten"
        bench.change(limit=100, period_s=100.0)
        await bench.advance(1)
        assert await bench.admitted(200) == 10, "the key has not been asked since the change: it still knew ten"
        await bench.advance(1)
        assert await bench.admitted(200) == 1


class TestLeakyBucket:
    async def test_turns_are_spaced_and_the_queue_is_bounded(self, bench: Bench):
        await bench.open(LeakyBucket(), limit=10, period_s=1.0, queue=3)
        decisions = [await bench.take() for _ in range(5)]
        assert [each.delay_s for each in decisions] == [0.0, 0.1, 0.2, 0.3, 0.0]
        assert [each.allowed for each in decisions] == [True] * 4 + [False]
        assert decisions[-1].retry_after_s == 0.1
        await bench.advance(0.15)
        assert (await bench.take()).delay_s == 0.25
        assert bench.limiter.policy == Policy(4, 0.4)

    async def test_newcomers_after_a_change_stand_behind_the_places_given(self, bench: Bench):
        await bench.open(LeakyBucket(), limit=1, period_s=1.0, queue=4)
        assert [(await bench.take()).delay_s for _ in range(3)] == [0.0, 1.0, 2.0]
        bench.change(limit=10, period_s=1.0, queue=40)
        assert [(await bench.take()).delay_s for _ in range(3)] == [3.0, 3.1, 3.2]
        bench.change(limit=1, period_s=1.0, queue=4)
        assert (await bench.take()).delay_s == 3.3
        assert not (await bench.take()).allowed


class TestFixedWindow:
    async def test_it_begins_with_the_first_unit_and_ends_whole(self, bench: Bench):
        await bench.open(FixedWindow(), limit=3, period_s=10.0)
        assert await bench.admitted(1) == 1
        await bench.advance(9)
        refused = [await bench.take() for _ in range(3)][-1]
        assert (refused.allowed, refused.retry_after_s, refused.reset_s) == (False, 1.0, 1.0)
        await bench.advance(1)
        assert await bench.admitted(9) == 3

    async def test_a_running_window_takes_a_new_length_and_one_that_ended_stays_ended(self, bench: Bench):
        await bench.open(FixedWindow(), limit=3, period_s=10.0)
        assert await bench.admitted(9) == 3
        bench.change(limit=3, period_s=20.0)
        await bench.advance(9)
        assert await bench.admitted(9) == 0
        await bench.advance(10)
        assert await bench.admitted(9) == 0, "asked while it ran, the window is now twenty seconds long"
        await bench.advance(1)
        assert await bench.admitted(9) == 3
        bench.change(limit=3, period_s=600.0)
        await bench.advance(20)
        assert await bench.admitted(9) == 3, "it had ended before anybody asked under the new length"


class TestSlidingWindow:
    async def test_the_end_of_a_window_is_no_second_chance(self, bench: Bench):
        await bench.open(SlidingWindow(), limit=10, period_s=10.0)
        await bench.take()
        await bench.advance(9.5)
        assert await bench.admitted(20) == 9
        await bench.advance(2)
        assert await bench.admitted(20) == 1, "the first unit only"
        await bench.advance(9)
        assert await bench.admitted(20) == 9

    async def test_a_new_period_counts_what_lies_within_it(self, bench: Bench):
        await bench.open(SlidingWindow(), limit=10, period_s=100.0)
        assert await bench.admitted(4) == 4
        await bench.advance(50)
        assert await bench.admitted(20) == 6
        bench.change(limit=10, period_s=10.0)
        assert await bench.admitted(20) == 4, "those of fifty seconds ago are out"
        bench.change(limit=10, period_s=100.0)
        assert await bench.admitted(20) == 0
        await bench.advance(99)
        assert await bench.admitted(20) == 0
        await bench.advance(2)
        assert await bench.admitted(20) == 10, "a slot was shortened with the period"

    async def test_what_has_gone_by_the_old_period_stays_gone(self, bench: Bench):
        await bench.open(SlidingWindow(), limit=10, period_s=10.0)
        assert await bench.admitted(20) == 10
        await bench.advance(11)
        bench.change(limit=10, period_s=1000.0)
        assert await bench.admitted(20) == 10
