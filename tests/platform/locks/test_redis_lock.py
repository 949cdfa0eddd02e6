"""What only locks in one Redis do. What all locks promise is in test_locks.py."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.redis import Redis
from redis_server import RedisServer, start_redis


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    opened = Redis(redis_url)
    yield opened
    await opened.close()


@pytest.fixture
def locks(redis: Redis, prefix: str) -> RedisLocks:
    return RedisLocks(redis, prefix)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = start_redis(own=True)
    yield server
    server.stop()


async def test_tokens_go_on_above_what_the_store_has_seen_and_never_back(locks: RedisLocks):
    await locks.raise_fence("a", 41)
    await locks.raise_fence("a", 7)
    assert await locks.take("a", "me") == 42


@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGKILL], ids=["hung", "killed"])
async def test_a_redis_that_is_away_is_asked_once_and_then_left_alone(
    own_redis: RedisServer, stop: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    """A crowd that waits for one lock must not wait for one time-out after another."""
    redis = Redis(own_redis.url)
    locks = RedisLocks(redis, "test:")
    async with locks.holding(["a"]):
        pass
    asked = 0
    run = redis.run

    async def counted(*words: Any) -> Any:
        nonlocal asked
        asked += 1
        return await run(*words)

    monkeypatch.setattr(redis, "run", counted)
    os.kill(own_redis.pid, stop)

    async def one() -> None:
        with pytest.raises(Unavailable):
            async with locks.holding(["a"]):
                raise AssertionError("nobody gave this lock")

    await asyncio.gather(*(one() for _ in range(50)))
    assert asked <= 5
    await redis.close()
