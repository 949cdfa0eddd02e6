"""Our way to Redis: each command has its time, and whoever is cancelled ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.limits.local import monotonic_us
from doorbuster.platform.redis import TIMEOUT_S, Call, Redis, Source
from redis_server import RedisServer, start_redis

ECHO = Source.of("return {KEYS[1], ARGV[1]}")


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    opened = Redis(redis_url)
    yield opened
    await opened.close()


@pytest.fixture
def stopped() -> Iterator[RedisServer]:
    server = start_redis(own=True)
    os.kill(server.pid, signal.SIGSTOP)
    yield server
    os.kill(server.pid, signal.SIGCONT)
    server.stop()


@pytest.mark.parametrize("way", ["command", "run_all"])
async def test_a_task_ends_whenever_it_is_cancelled(redis: Redis, way: str) -> None:
    """On Python 3.11 `asyncio.wait_for` returns in place of raising a cancellation that comes when its work is done
    (cpython gh-86296). The client writes through it when it has a time limit of its own: a loop that asked Redis could
    not be stopped, and who waited for its end waited for ever."""

    async def ask_for_ever() -> None:
        while True:
            if way == "command":
                await redis.command("GET", "k")
            else:
                await redis.run_all([Call(ECHO, "k", ("1",))])

    await redis.command("GET", "k")
    deaf: list[int] = []
    for turns in range(60):
        task = asyncio.create_task(ask_for_ever())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=0.5)
        if not task.done():
            deaf.append(turns)
            while not task.done():
                task.cancel()
                await asyncio.sleep(0)
    assert deaf == [], "went on after it was cancelled"
    assert set(await redis.everywhere("ECHO", "mine")) == {"mine"}, "no answer is taken for another's"


@pytest.mark.parametrize("way", ["command", "run_all"])
async def test_a_server_that_stands_still_is_given_up_in_time(stopped: RedisServer, way: str) -> None:
    redis = Redis(stopped.url)
    began_s = time.monotonic()
    try:
        with pytest.raises(Unavailable):
            if way == "command":
                await redis.command("GET", "k")
            else:
                await redis.run_all([Call(ECHO, "k", (monotonic_us(),))])
    finally:
        await redis.close()
    assert time.monotonic() - began_s >= TIMEOUT_S * 0.9
