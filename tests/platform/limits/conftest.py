"""Each limiter on both engines, and a Redis to torment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from doorbuster.platform.redis import Redis
from redis_server import RedisServer, start_redis

from .bench import Bench


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    opened = Redis(redis_server.url)
    yield opened
    await opened.close()


@pytest.fixture(params=["local", "redis"])
async def bench(request: pytest.FixtureRequest, redis: Redis) -> Bench:
    return Bench(redis if request.param == "redis" else None)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that may be killed, stopped and filled."""
    server = start_redis(own=True)
    yield server
    server.stop()
