"""Python and Lua decide alike, and what they decide keeps the bounds that are written down: on generated histories."""

from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.algorithms.sliding_window import SLOTS, SlidingWindow
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.settings import LimitSettings, share_of
from doorbuster.platform.redis import Redis
from redis_server import RedisServer

from .bench import NOW_US, Bench

thresholds = st.builds(
    LimitSettings,
    limit=st.integers(1, 12) | st.integers(1, 1_000_000),
    period_s=st.sampled_from([0.001, 0.3, 1.0, 7.0, 3600.0]) | st.floats(0.001, 86_400),
    burst=st.integers(0, 12),
    queue=st.integers(0, 8),
)
steps = st.lists(
    st.tuples(
        st.floats(-2, 30) | st.sampled_from([0.0, 0.1, 0.7, 1.0]),  # seconds that pass
        st.integers(1, 4),  # cost
        st.none() | thresholds,  # a change before
    ),
    min_size=1,
    max_size=15,
)
pauses_us = st.lists(st.integers(0, 400_000) | st.sampled_from([0, 100_000, 1_000_000]), min_size=5, max_size=60)


@pytest.mark.parametrize("algorithm", [TokenBucket, LeakyBucket, FixedWindow, SlidingWindow])
def test_python_and_lua_are_twins(redis_server: RedisServer, algorithm: type[Algorithm]):
    async def both(first: LimitSettings, history: list[tuple[float, int, LimitSettings | None]]) -> None:
        redis = Redis(redis_server.url)
        benches = [Bench(None), Bench(redis)]
        for each in benches:
            await each.open(algorithm())
            each.settings = first
        for passes_s, cost, change in history:
            decisions = []
            for each in benches:
                each.settings = change or each.settings
                await each.advance(passes_s)
                decisions.append(await each.take(cost=cost))
            assert decisions[0] == decisions[1]
        await redis.close()

    @settings(max_examples=100)
    @given(thresholds, steps)
    def generated(first: LimitSettings, history: list[tuple[float, int, LimitSettings | None]]) -> None:
        asyncio.run(both(first, history))

    generated()


def admitted_at(algorithm: Algorithm, of: LimitSettings, pauses: list[int]) -> tuple[list[int], list[int]]:
    """When units were admitted and refused, asked for one after each pause."""
    now_us = NOW_US
    limiter = LocalLimiter(algorithm, lambda: of, now_us=lambda: now_us)
    admitted, refused = [], []
    for pause_us in pauses:
        now_us += pause_us
        (admitted if limiter.take_now("k").allowed else refused).append(now_us)
    return admitted, refused


@given(st.integers(1, 8), pauses_us)
def test_no_sliding_window_ever_holds_more_than_the_limit(limit: int, pauses: list[int]):
    of = LimitSettings(limit=limit, period_s=1.0)
    admitted, refused = admitted_at(SlidingWindow(), of, pauses)
    for at in admitted:
        assert sum(at - of.period_us < other <= at for other in admitted) <= limit
    late_us = of.period_us // SLOTS
    for at in refused:
        held = sum(at - of.period_us - late_us < other <= at for other in admitted)
        assert held >= limit, "refused only for units of the last period and a tenth"


@given(st.integers(1, 8), st.integers(1, 8), pauses_us)
def test_no_stretch_of_time_gives_a_token_bucket_more_than_burst_and_rate(limit: int, burst: int, pauses: list[int]):
    of = LimitSettings(limit=limit, period_s=1.0, burst=burst)
    admitted, refused = admitted_at(TokenBucket(), of, pauses)
    for at, begin in enumerate(admitted):
        for count, end in enumerate(admitted[at:], 1):
            assert count <= burst + (end - begin) * limit / 1e6 + 1e-6
    # And it refuses only an empty bucket: an exact model with whole numbers, in millionths of a unit.
    level, last = 0, NOW_US
    for at in sorted([*admitted, *refused]):
        level, last = max(0, level - (at - last) * limit), at
        allowed = level + 1_000_000 <= burst * 1_000_000
        assert allowed == (admitted[:1] == [at])
        if allowed:
            admitted.pop(0)
            level += 1_000_000
        else:
            refused.pop(0)


@given(st.integers(1, 8), pauses_us)
def test_a_fixed_window_holds_its_limit_and_two_of_them_at_most_twice(limit: int, pauses: list[int]):
    of = LimitSettings(limit=limit, period_s=1.0)
    admitted, _ = admitted_at(FixedWindow(), of, pauses)
    begin, count = -math.inf, 0
    for at in admitted:
        begin, count = (begin, count + 1) if at < begin + of.period_us else (at, 1)
        assert count <= limit
        assert sum(at - of.period_us < other <= at for other in admitted) <= 2 * limit


@given(st.integers(1, 20), st.integers(0, 6), st.lists(st.tuples(st.integers(0, 300_000), st.integers(1, 3))))
def test_turns_of_a_paced_queue_keep_their_distance(limit: int, queue: int, arrivals: list[tuple[int, int]]):
    of, now_us = LimitSettings(limit=limit, period_s=1.0, queue=queue), NOW_US
    limiter = LocalLimiter(LeakyBucket(), lambda: of, now_us=lambda: now_us)
    turns: list[int] = []
    for pause_us, cost in arrivals:
        now_us += pause_us
        decision = limiter.take_now("k", cost)
        if decision.allowed:
            begin_us = now_us + round(decision.delay_s * 1e6)
            turns += [begin_us + at * -(-of.period_us // limit) for at in range(cost)]
        assert sum(turn > now_us for turn in turns) <= queue
    assert all(later - earlier >= of.period_us // limit for earlier, later in pairwise(turns))


@given(thresholds, st.integers(1, 50))
def test_shares_together_are_at_most_the_whole(whole: LimitSettings, instances: int):
    share = share_of(whole, instances)
    assert share.limit * instances <= whole.limit
    assert not share.limit or share.capacity * instances <= whole.capacity
    assert instances > 1 or (share.limit, share.capacity, share.queue) == (whole.limit, whole.capacity, whole.queue)
