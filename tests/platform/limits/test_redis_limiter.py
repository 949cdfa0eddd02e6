"""Limits on Redis by the clock of the server: what many tasks and processes get together."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.limits import hasty_redis
from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.redis_limiter import RedisLimiter
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.redis import Redis

from .bench import PATIENT_S
from .taking import ALGORITHMS, SETTINGS

each = pytest.mark.parametrize("algorithm", ALGORITHMS.values())


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    opened = Redis(redis_url)
    yield opened
    await opened.close()


def opened(redis: Redis, algorithm: Algorithm, settings: LimitSettings = SETTINGS) -> RedisLimiter:
    return RedisLimiter(HastyRedis(redis, limit_s=PATIENT_S), uuid.uuid4().hex, algorithm, lambda: settings)


@each
async def test_tasks_at_once_get_exactly_the_limit(redis: Redis, algorithm: type[Algorithm]):
    limiter = opened(redis, algorithm())
    decisions = await asyncio.gather(*[limiter.take("k") for _ in range(1000)])
    assert sum(each.allowed for each in decisions) == 100


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_processes_at_once_get_exactly_the_limit(redis_url: str, algorithm: str):
    words = [sys.executable, str(Path(__file__).with_name("taking.py")), redis_url, algorithm, uuid.uuid4().hex]
    pipe = asyncio.subprocess.PIPE
    children = [
        await asyncio.create_subprocess_exec(*words, "150", stdin=pipe, stdout=pipe)  # each alone could have all
        for _ in range(3)
    ]
    for child in children:
        assert await child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"go\n")
    shares = [int((await child.communicate())[0]) for child in children]
    assert sum(shares) == 100


@each
async def test_the_clock_of_the_server_gives_units_back(redis: Redis, algorithm: type[Algorithm]):
    limiter = opened(redis, algorithm(), LimitSettings(limit=3, period_s=0.2, queue=2))
    while (await limiter.take("k")).allowed:
        pass
    refused = await limiter.take("k")
    while not refused.allowed:
        await asyncio.sleep(refused.retry_after_s)
        refused = await limiter.take("k")


@each
async def test_a_key_that_says_nothing_any_more_expires(redis: Redis, algorithm: type[Algorithm], until):
    limiter = opened(redis, algorithm(), LimitSettings(limit=3, period_s=0.2, queue=2))
    await limiter.take("k")
    assert 0 < int(await redis.command("PTTL", limiter.key_of("k"))) <= 221

    async def gone() -> bool:
        return not await redis.command("EXISTS", limiter.key_of("k"))

    assert await until(gone)


async def test_a_refused_question_about_an_idle_key_leaves_nothing(redis: Redis):
    limiter = opened(redis, TokenBucket())
    assert not (await limiter.take("k", 101)).allowed
    assert not await redis.command("EXISTS", limiter.key_of("k"))


async def test_a_server_that_has_forgotten_the_script_gets_it_again(redis: Redis):
    limiter = opened(redis, FixedWindow())
    admitted = 0
    for _ in range(5):
        await redis.everywhere("SCRIPT", "FLUSH")
        decisions = await asyncio.gather(*[limiter.take("k") for _ in range(30)])
        admitted += sum(each.allowed for each in decisions)
    assert admitted == 100


def test_keys_are_one_string_each_below_a_hash_tag_of_their_own(redis_url: str):
    limiter = opened(Redis(redis_url), FixedWindow())
    assert limiter.key_of("user:7").endswith(":FixedWindow:{user:7}")
    assert len(limiter.key_of("x" * 10_000)) < 200
    assert limiter.key_of("x" * 10_000) != limiter.key_of("x" * 10_001)


async def test_a_crowd_shares_round_trips_and_the_queue_for_them_is_bounded(redis: Redis):
    trips: list[int] = []
    ask = redis.run_all

    async def counted(calls):
        trips.append(len(calls))
        return await ask(calls)

    redis.run_all = counted
    limiter = opened(redis, FixedWindow())
    asked = hasty_redis.WAITING_MAX + 500
    decisions = await asyncio.gather(*[limiter.take("k") for _ in range(asked)], return_exceptions=True)
    refused = [each for each in decisions if isinstance(each, Overloaded)]
    assert len(refused) == 500
    assert sum(trips) == asked - 500
    assert max(trips) <= hasty_redis.BATCH_MAX
    assert len(trips) <= asked / hasty_redis.BATCH_MAX + 2
