"""A majority of servers: what it survives, what it does not, and whose token is higher."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.locks.redlock import Redlock
from doorbuster.platform.redis import Redis
from redis_server import RedisServer, start_redis

LEASE_MS = 20_000


@pytest.fixture
def five() -> Iterator[list[RedisServer]]:
    servers = [start_redis(own=True) for _ in range(5)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture
async def members(five: list[RedisServer]) -> AsyncIterator[list[RedisLocks]]:
    opened = [Redis(server.url) for server in five]
    yield [RedisLocks(redis, "r:", LEASE_MS) for redis in opened]
    for redis in opened:
        await redis.close()


async def test_two_of_five_may_be_away(five: list[RedisServer], members: list[RedisLocks]):
    locks = Redlock(members, LEASE_MS)
    before = await locks.take("shelf", "a")
    five[0].stop()
    os.kill(five[1].pid, signal.SIGSTOP)
    assert await locks.renew("shelf", "a")
    assert not await locks.take("shelf", "b")
    assert await locks.release("shelf", "a")
    after = await locks.take("shelf", "b")
    assert after > before
    assert await locks.release("shelf", "b")


async def test_without_a_majority_nothing_is_granted_and_nothing_stays_taken(
    five: list[RedisServer], members: list[RedisLocks], until
):
    locks = Redlock(members, LEASE_MS)
    ports = [urlsplit(server.url).port for server in five]
    for server in five[:3]:
        server.stop()
    with pytest.raises(Unavailable):
        await locks.take("shelf", "a")
    with pytest.raises(Unavailable):
        await locks.renew("shelf", "a")
    with pytest.raises(Unavailable):
        await locks.release("shelf", "a")
    five[:3] = [start_redis(own=True, port=port or 0) for port in ports[:3]]

    async def taken() -> int:
        try:
            return await locks.take("shelf", "b")
        except Unavailable:
            return 0  # servers that have failed are left alone for a second

    assert await until(taken), "the two that were there were let go"


async def test_others_in_part_of_the_servers_leave_no_majority_to_two(members: list[RedisLocks]):
    locks = Redlock(members, LEASE_MS)
    for member in members[:3]:
        assert await member.take("shelf", "stranger")
    assert not await locks.take("shelf", "a")
    for member in members[3:]:
        assert await member.take("shelf", "later"), "let go by the one who lost"


async def test_the_token_is_above_every_earlier_one_whatever_the_servers_had_counted(members: list[RedisLocks]):
    """Majorities that share one server only, and counters that are far apart."""
    for member, count in zip(members, (1000, 3, 70, 0, 5), strict=True):
        await member.raise_fence("shelf", count)
    locks, tokens = Redlock(members, LEASE_MS), []
    for at, blocked in enumerate([(3, 4), (0, 1), (2, 3), (0, 4), (1, 2)] * 2):
        for server in blocked:
            assert await members[server].take("shelf", "stranger")
        tokens.append(await locks.take("shelf", f"owner-{at}"))
        assert await locks.release("shelf", f"owner-{at}")
        for server in blocked:
            assert await members[server].release("shelf", "stranger")
    assert tokens[0] == 1001
    assert tokens == sorted(set(tokens))


async def test_racers_get_it_one_at_a_time(members: list[RedisLocks]):
    racers = [Redlock(members, LEASE_MS) for _ in range(4)]
    inside, tokens = 0, []

    async def race(at: int) -> None:
        nonlocal inside
        async with racers[at].holding(["shelf"]) as held:
            inside += 1
            assert inside == 1
            tokens.append(held["shelf"])
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*[race(at) for at in range(4)])
    assert len(set(tokens)) == 4


async def test_servers_that_forgot_go_on_above_what_the_store_has_seen(
    five: list[RedisServer], members: list[RedisLocks]
):
    locks = Redlock(members, LEASE_MS)
    await locks.raise_fence("shelf", 41)
    assert await locks.take("shelf", "a") == 42
    for server in five:
        redis = Redis(server.url)
        await redis.everywhere("FLUSHALL")
        await redis.close()
    assert await locks.take("shelf", "b") == 1, "the store's condition refuses this one"
    await locks.release("shelf", "b")
    await locks.raise_fence("shelf", 42)
    assert await locks.take("shelf", "b") == 43


def test_an_even_number_of_servers_is_a_mistake():
    with pytest.raises(ValueError, match="odd"):
        Redlock([], LEASE_MS)
