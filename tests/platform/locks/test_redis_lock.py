"""Locks in a real Redis: one owner at a time, released by nobody else, with tokens that only rise."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.locks import redis_lock
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.redis import Redis
from redis_server import RedisServer, start_redis


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[Redis]:
    opened = Redis(redis_server.url)
    yield opened
    await opened.close()


@pytest.fixture
def prefix() -> str:
    return f"test:{uuid.uuid4().hex}:"


@pytest.fixture
def locks(redis: Redis, prefix: str) -> RedisLocks:
    return RedisLocks(redis, prefix)


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = start_redis(own=True)
    yield server
    server.stop()


async def gone(redis: Redis, key: str) -> None:
    for _ in range(1000):
        if not await redis.command("EXISTS", key):
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{key} does not expire")


async def test_one_owner_at_a_time_and_tokens_rise(locks: RedisLocks):
    assert await locks.take("a", "me") == 1
    assert await locks.take("a", "you") == 0
    assert await locks.take("b", "you") == 1
    assert await locks.release("a", "me")
    assert await locks.take("a", "you") == 2


async def test_only_the_owner_releases(locks: RedisLocks):
    await locks.take("a", "me")
    assert not await locks.release("a", "you")
    assert await locks.take("a", "you") == 0


async def test_an_owner_whose_time_is_over_neither_releases_the_next_one_s_lock(redis: Redis, prefix: str):
    locks = RedisLocks(redis, prefix, ttl_ms=20)
    assert await locks.take("a", "slow") == 1
    await gone(redis, f"{prefix}lock:{{a}}")
    assert await RedisLocks(redis, prefix).take("a", "next") == 2
    assert not await locks.release("a", "slow")
    assert await locks.take("a", "third") == 0


async def test_tokens_go_on_above_what_the_store_has_seen_and_never_back(locks: RedisLocks):
    await locks.raise_fence("a", 41)
    await locks.raise_fence("a", 7)
    assert await locks.take("a", "me") == 42


async def test_a_crowd_holds_it_one_after_another(redis: Redis, prefix: str):
    """Half of them in another process, as Redis sees it."""
    processes = [RedisLocks(redis, prefix), RedisLocks(redis, prefix)]
    inside, tokens = 0, list[int]()

    async def one(n: int) -> None:
        nonlocal inside
        async with processes[n % 2].holding(["a", "b"]) as held:
            inside += 1
            assert inside == 1, "two owners"
            tokens.append(held["a"])
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one(n) for n in range(40)))
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 40


async def test_the_queue_for_a_lock_is_bounded(locks: RedisLocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(redis_lock, "QUEUE_MAX", 3)
    leave = asyncio.Event()

    async def one() -> str:
        try:
            async with locks.holding(["a"]):
                await leave.wait()
        except Overloaded:
            return "overloaded"
        return "held"

    crowd = [asyncio.create_task(one()) for _ in range(5)]
    done, _ = await asyncio.wait(crowd, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result() for task in done} == {"overloaded"}
    leave.set()
    assert sorted(await asyncio.gather(*crowd)) == ["held"] * 3 + ["overloaded"] * 2


async def test_who_waits_for_an_owner_that_never_releases_is_told_so(
    redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(redis_lock, "WAIT_S", 0.05)
    locks = RedisLocks(redis, prefix)
    await locks.take("a", "dead")
    with pytest.raises(Overloaded):
        async with locks.holding(["a"]):
            raise AssertionError("two owners")


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
