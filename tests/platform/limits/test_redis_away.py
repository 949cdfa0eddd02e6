"""Redis killed, stopped, flushed and filled in the middle of a run: the declared bound holds, and it comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from urllib.parse import urlsplit

import pytest

from doorbuster.platform.limits import hasty_redis
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.pause import Pause
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.limits.shared import SharedLimiter, WhenAway
from doorbuster.platform.redis import Redis
from redis_server import RedisServer, start_redis

from .taking import ALGORITHMS

LIMIT, INSTANCES = 100, 4
SHARE = LIMIT // INSTANCES
SETTINGS = LimitSettings(limit=LIMIT, period_s=86_400, queue=LIMIT - 1)
each = pytest.mark.parametrize("algorithm", ALGORITHMS.values())
counted = pytest.mark.parametrize("algorithm", [ALGORITHMS[name] for name in ALGORITHMS if name != "LeakyBucket"])
"""A paced queue counts time, not units."""


class CountedRedis(Redis):
    """Knows how often it was asked."""

    asked = 0

    async def run_all(self, calls: object) -> list[object]:
        self.asked += 1
        return await super().run_all(calls)  # pyright: ignore[reportArgumentType]


class Instance:
    """One process of the shop, as far as the limiter is concerned. Its pause ends when the test says so."""

    def __init__(self, url: str, algorithm: Algorithm, when_away: WhenAway = "share", limit_s: float = 5.0) -> None:
        self.pause_s = 0.0
        self.redis = CountedRedis(url)
        self.hasty = HastyRedis(self.redis, limit_s=limit_s, pause=lambda: Pause(lambda: self.pause_s))
        self.limiter = SharedLimiter(
            self.hasty, "door", algorithm, lambda: SETTINGS, when_away=when_away, instances=lambda: INSTANCES
        )
        self.admitted = 0

    async def take(self) -> bool:
        allowed = (await self.limiter.take("k")).allowed
        self.admitted += allowed
        return allowed

    async def burst(self, tries: int = 2 * LIMIT) -> int:
        return sum(await asyncio.gather(*[self.take() for _ in range(tries)]))


OpenInstance = Callable[..., Instance]


@pytest.fixture
async def instance(own_redis: RedisServer) -> AsyncIterator[OpenInstance]:
    opened: list[Instance] = []

    def open_one(algorithm: Algorithm, when_away: WhenAway = "share", limit_s: float = 5.0) -> Instance:
        opened.append(Instance(own_redis.url, algorithm, when_away, limit_s))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.hasty.close()
        await each.redis.close()


async def in_the_middle_of_a_burst(door: Instance, befalls: Callable[[], Awaitable[None]]) -> None:
    """400 tasks, at most 20 at a time, and it happens when 40 have their answer."""
    answered, at_once = 0, asyncio.Semaphore(20)

    async def one() -> None:
        nonlocal answered
        async with at_once:
            await door.take()
            answered += 1
            if answered == 40:
                await befalls()

    await asyncio.gather(*[one() for _ in range(400)])


@counted
async def test_killed_each_instance_goes_up_to_its_share_and_all_up_to_the_limit(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    doors = [instance(algorithm()) for _ in range(INSTANCES)]
    for door, before in zip(doors, (3, 10, 25, 0), strict=True):
        assert await door.burst(before) == before
    own_redis.stop()
    for door in doors:
        await door.burst()
    assert [door.admitted for door in doors] == [SHARE] * INSTANCES


@counted
async def test_who_had_more_than_their_share_gets_no_more(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    door = instance(algorithm())
    assert await door.burst(60) == 60
    own_redis.stop()
    assert await door.burst() == 0


@each
async def test_what_redis_refused_does_not_count_against_the_share(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    door, other = instance(algorithm()), instance(algorithm())
    assert await other.burst() == LIMIT
    assert await door.burst() == 0
    own_redis.stop()
    assert await door.burst() == SHARE


@each
async def test_killed_in_the_middle_of_a_burst(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    door = instance(algorithm())

    async def kill() -> None:
        own_redis.stop()
        assert door.admitted <= 80

    await in_the_middle_of_a_burst(door, kill)
    assert SHARE <= door.admitted <= LIMIT
    assert door.hasty.away


@each
async def test_flushed_in_the_middle_of_a_burst_forgives_an_instance_nothing(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    door = instance(algorithm())

    async def flush() -> None:
        await door.redis.everywhere("FLUSHALL")

    await in_the_middle_of_a_burst(door, flush)
    for _ in range(3):
        await flush()
        await door.burst()
    assert door.admitted == LIMIT


async def test_stopped_costs_one_round_trip_and_one_at_each_return(
    own_redis: RedisServer, instance: OpenInstance, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hasty_redis, "BATCH_MAX", 10)
    door = instance(ALGORITHMS["FixedWindow"](), limit_s=0.5)
    assert await door.burst(5) == 5
    os.kill(own_redis.pid, signal.SIGSTOP)
    asked = door.redis.asked
    assert await door.burst() == SHARE - 5
    assert await door.burst() == 0
    assert door.redis.asked == asked + 1, "those behind the one that failed did not ask"
    door.pause_s = 0.6
    await door.burst()
    assert door.redis.asked == asked + 2, "one of two hundred was let through"
    os.kill(own_redis.pid, signal.SIGCONT)
    door.pause_s = 100.0
    await door.burst(1)
    assert not door.hasty.away
    await door.burst()
    assert door.admitted == LIMIT, "what was sent while it stood still came too late to be charged"


@counted
async def test_back_without_its_memory_redis_is_used_again_and_forgives_nothing(
    own_redis: RedisServer, instance: OpenInstance, algorithm: type[Algorithm]
):
    door, other = instance(algorithm()), instance(algorithm())
    assert await door.burst(60) == 60
    own_redis.stop()
    assert await door.burst() == 0
    back = start_redis(own=True, port=urlsplit(own_redis.url).port or 0)
    try:
        door.pause_s = 100.0
        await door.burst(1)
        assert not door.hasty.away
        await door.burst()
        assert door.admitted == LIMIT
        await other.burst()
        assert other.admitted == LIMIT - 40, "what the new Redis has not been told of, it does not know"
    finally:
        back.stop()


async def test_a_paced_queue_goes_on_behind_its_places_at_the_pace_of_a_share(
    own_redis: RedisServer, instance: OpenInstance
):
    door = instance(ALGORITHMS["LeakyBucket"]())
    assert await door.burst(60) == 60
    own_redis.stop()
    pace_s = SETTINGS.period_s / LIMIT
    decisions = [await door.limiter.take("k") for _ in range(30)]
    delays = [each.delay_s for each in decisions if each.allowed]
    assert delays[0] == pytest.approx(60 * pace_s, abs=60)
    assert [later - earlier for earlier, later in pairwise(delays)] == pytest.approx(
        [INSTANCES * pace_s] * (len(delays) - 1), abs=60
    )
    assert len(delays) == (SHARE - 1) - 60 // INSTANCES + 1


async def test_filled_it_counts_as_away_until_there_is_room(own_redis: RedisServer, instance: OpenInstance):
    door = instance(ALGORITHMS["SlidingWindow"]())
    assert await door.burst(5) == 5
    await door.redis.everywhere("CONFIG", "SET", "maxmemory", "1")
    assert await door.burst() == SHARE - 5
    assert door.hasty.away
    await door.redis.everywhere("CONFIG", "SET", "maxmemory", "0")
    door.pause_s = 100.0
    await door.burst(1)
    assert not door.hasty.away
    await door.burst()
    assert door.admitted == LIMIT


async def test_browsing_stays_open_and_what_is_closed_is_closed(own_redis: RedisServer, instance: OpenInstance):
    browsing = instance(ALGORITHMS["TokenBucket"](), when_away="open")
    closed = instance(ALGORITHMS["TokenBucket"](), when_away="closed")
    own_redis.stop()
    assert await browsing.burst(300) == 300
    assert await closed.burst(300) == 0
    assert (await closed.limiter.take("k")).retry_after_s >= 1


async def test_a_caller_who_goes_away_stops_nobody(own_redis: RedisServer, instance: OpenInstance):
    door = instance(ALGORITHMS["FixedWindow"]())
    os.kill(own_redis.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(door.take()) for _ in range(50)]
    await asyncio.sleep(0)
    for each in waiting[:49]:
        each.cancel()
    os.kill(own_redis.pid, signal.SIGCONT)
    assert await waiting[49]
    assert await door.burst() >= LIMIT - 50


async def test_a_probe_whose_caller_is_gone_lets_the_next_one_ask(own_redis: RedisServer, instance: OpenInstance):
    door = instance(ALGORITHMS["FixedWindow"]())
    await door.redis.everywhere("CONFIG", "SET", "maxmemory", "1")
    await door.take()
    assert door.hasty.away
    await door.redis.everywhere("CONFIG", "SET", "maxmemory", "0")
    door.pause_s = 100.0
    probe = asyncio.create_task(door.take())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.wait([probe])
    await door.burst(1)
    assert not door.hasty.away
