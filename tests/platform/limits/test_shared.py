"""The book that an instance keeps beside Redis never stands in the way of what Redis allows."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.limits.shared import SharedLimiter
from doorbuster.platform.redis import Redis

from .bench import NOW_US, PATIENT_S
from .taking import ALGORITHMS

each = pytest.mark.parametrize("algorithm", ALGORITHMS.values())


class Town:
    """Several instances, Redis and one clock for all, which only moves when told to."""

    def __init__(self, redis: Redis) -> None:
        self.now_us, self.redis, self.name = NOW_US, redis, uuid.uuid4().hex
        self.settings = LimitSettings(limit=3, period_s=10.0, queue=2)

    def door(self, algorithm: Algorithm, keys_max: int = 100) -> SharedLimiter:
        return SharedLimiter(
            HastyRedis(self.redis, limit_s=PATIENT_S),
            self.name,
            algorithm,
            lambda: self.settings,
            when_away="share",
            instances=lambda: 2,
            now_us=lambda: self.now_us,
            keys_max=keys_max,
            clock=f"local now = tonumber(redis.call('GET', 'clock-{self.name}'))",
        )

    async def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)
        await self.redis.command("SET", f"clock-{self.name}", self.now_us, "EX", 600)


@pytest.fixture
async def town(redis: Redis) -> Town:
    opened = Town(redis)
    await opened.advance(0)
    return opened


async def taken(door: SharedLimiter, tries: int, key: str = "k") -> int:
    decisions: list[Decision] = await asyncio.gather(*[door.take(key) for _ in range(tries)])
    return sum(each.allowed for each in decisions)


@each
async def test_instances_share_one_limit_and_a_changed_one(town: Town, algorithm: type[Algorithm]):
    one, two = town.door(algorithm()), town.door(algorithm())
    assert await taken(one, 2) + await taken(two, 9) == 3
    assert await taken(one, 9) == 0
    town.settings = LimitSettings(
        limit=5, period_s=50.0 / 3 if algorithm is ALGORITHMS["LeakyBucket"] else 10.0, queue=4
    )
    assert await taken(one, 9) + await taken(two, 9) == 2


async def test_a_window_that_another_instance_began_ends_for_all_at_once(town: Town):
    one, two = town.door(FixedWindow()), town.door(FixedWindow())
    assert await taken(one, 1) == 1
    await town.advance(9)
    assert await taken(two, 9) == 2
    await town.advance(1)
    assert await taken(two, 9) == 3


@each
async def test_over_many_periods_an_instance_gets_what_redis_alone_would_give(town: Town, algorithm: type[Algorithm]):
    one, two = town.door(algorithm()), town.door(algorithm())
    both = [0, 0]
    for step in range(60):
        for at, door in enumerate((one, two) if step % 2 else (two, one)):
            both[at] += await taken(door, 2)
        await town.advance(2.5)
    least = 3 + 3 * (150 - 2.5) / 10  # three at once and three every ten seconds
    if algorithm is ALGORITHMS["SlidingWindow"]:
        least *= 10 / 12.5  # asked every 2.5 s, and a tenth late: a unit comes back after 12.5
    assert sum(both) >= least - 3
    assert sum(both) <= 3 + 3 * 150 / 10 + 1


@each
async def test_keys_without_room_in_the_book_go_by_redis_alone(town: Town, algorithm: type[Algorithm]):
    one, two = town.door(algorithm(), keys_max=2), town.door(algorithm(), keys_max=2)
    for at in range(1000):
        assert (await one.take(f"key-{at}")).allowed, "no key shares another's limit while Redis answers"
    assert await taken(one, 9, "k") + await taken(two, 9, "k") == 3
