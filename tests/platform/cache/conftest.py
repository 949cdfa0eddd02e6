"""A cache with the local tier only, and one with a real Redis behind it: what is asked of both is asked twice."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.redis import Redis
from platform_cache_goods import Process, Source, Time
from redis_server import RedisServer, start_redis

OpenProcess = Callable[..., Process]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def prefix() -> str:
    return f"test:{uuid.uuid4().hex}:"


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    opened = Redis(redis_url)
    yield opened
    await opened.close()


@pytest.fixture
def open_shared(now: Time, redis: Redis, prefix: str) -> OpenProcess:
    """Caches of several processes on one Redis; `hot_reads` 1: what is read is also kept in the process."""
    return lambda settings=None: Process(now, RedisTier(redis, prefix), settings or CacheSettings(hot_reads=1))


@pytest.fixture(params=["local", "redis_server", "redis_cluster"])
async def open_process(request: pytest.FixtureRequest, now: Time, prefix: str) -> AsyncIterator[OpenProcess]:
    redis = None if request.param == "local" else Redis(request.getfixturevalue(request.param).url)

    def open_one(settings: CacheSettings | None = None) -> Process:
        return Process(now, RedisTier(redis, prefix) if redis else None, settings or CacheSettings(hot_reads=1))

    yield open_one
    if redis:
        await redis.close()


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    server = start_redis(own=True)
    yield server
    server.stop()


async def keys_of(redis: Redis, prefix: str) -> list[str]:
    try:
        return sorted(key for keys in await redis.everywhere("KEYS", f"{prefix}*") for key in keys)
    except Unavailable:
        return []
