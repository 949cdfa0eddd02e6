"""Limits, copies and locks on a Redis Cluster while a slot moves, and while one of its masters is away."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.limits.shared import SharedLimiter
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.redis import Redis
from platform_cache_goods import Process, Source, Time, Ware
from redis_cluster import MASTERS, Cluster

LIMIT, INSTANCES, PATIENT_S = 1000, 2, 30.0
"""As many units as a slot needs to move."""
SETTINGS = LimitSettings(limit=LIMIT, period_s=86_400)
READERS = Path(__file__).with_name("cluster_reader.py")


class Door:
    """One process of the shop, as far as limits are concerned."""

    def __init__(self, url: str, name: str) -> None:
        self.redis = Redis(url)
        self.hasty = HastyRedis(self.redis, limit_s=PATIENT_S)
        self._limiter = SharedLimiter(
            self.hasty, name, FixedWindow(), lambda: SETTINGS, when_away="share", instances=lambda: INSTANCES
        )
        self.name = name

    async def take(self, key: str) -> bool:
        return (await self._limiter.take(key)).allowed

    async def burst(self, key: str, tries: int = 2 * LIMIT) -> int:
        return sum(await asyncio.gather(*(self.take(key) for _ in range(tries))))


@pytest.fixture
async def doors(own_cluster: Cluster) -> AsyncIterator[list[Door]]:
    own_cluster.empty()
    name = uuid.uuid4().hex
    opened = [Door(own_cluster.url, name) for _ in range(INSTANCES)]
    yield opened
    for door in opened:
        await door.hasty.close()
        await door.redis.close()


@pytest.fixture
async def redis(own_cluster: Cluster) -> AsyncIterator[Redis]:
    own_cluster.empty()
    opened = Redis(own_cluster.url)
    yield opened
    await opened.close()


def tagged(own_cluster: Cluster, at: int) -> str:
    """A limiter's key whose state is on this master: it is its key's hash tag."""
    return own_cluster.key_on(at, "user-")


async def moved_around(own_cluster: Cluster, key: str) -> None:
    for step in (1, 2, 1):
        to = (own_cluster.master_of(key) + step) % MASTERS
        for part in (own_cluster.begin_move, own_cluster.move_keys, own_cluster.end_move):
            await asyncio.to_thread(part, key, to)
            await asyncio.sleep(0.02)  # something to do in every state of the move


# --- a slot moves ---------------------------------------------------------------------------------------------------


async def test_limits_hold_exactly_while_their_slot_moves(doors: list[Door], own_cluster: Cluster, logged: list[Any]):
    key = tagged(own_cluster, 0)
    admitted, moving = 0, asyncio.create_task(moved_around(own_cluster, key))

    async def visit(door: Door) -> None:
        nonlocal admitted
        while not moving.done() or admitted < LIMIT:
            allowed = await door.take(key)
            admitted += allowed
            await asyncio.sleep(0.001)

    await asyncio.wait_for(asyncio.gather(*(visit(door) for door in doors for _ in range(3))), PATIENT_S)
    await moving
    assert admitted == LIMIT
    assert [await door.burst(key) for door in doors] == [0, 0]
    assert [entry for entry in logged if entry["event"] == "limits do without Redis"] == []


async def test_copies_are_neither_old_nor_lost_while_their_slot_moves(redis: Redis, own_cluster: Cluster):
    source, prefix = Source(), f"{uuid.uuid4().hex}:"
    reader, writer = (Process(Time(), RedisTier(redis, prefix), CacheSettings(hot_reads=15)) for _ in range(2))
    source.write("1", "tea")
    moving = asyncio.create_task(moved_around(own_cluster, f"{prefix}1"))
    reads = 0
    while not moving.done():
        for _ in range(20):
            found = await reader.cache.get_or_load("1", source.load("1"))
            assert found == source.wares["1"]
            reads += 1
        for process in (writer, reader):
            process.cache.forget({"1": source.wares["1"].version + 1})
        source.write("1", "tea")
        assert await writer.cache.settle()
        assert await reader.cache.settle()
    await moving
    assert reader.cache.stats.redis_failures == writer.cache.stats.redis_failures == 0
    assert source.asked < reads, "there were copies"


# --- a master is away -----------------------------------------------------------------------------------------------


async def test_limits_of_a_dead_master_go_by_shares_and_the_others_by_redis(
    doors: list[Door], own_cluster: Cluster, until
):
    one, other = doors
    keys = [tagged(own_cluster, at) for at in range(MASTERS)]
    before = [await door.burst(key, 10) for door in doors for key in keys]
    assert before == [10] * len(before)
    with own_cluster.killed(1):
        for at, key in enumerate(keys):
            both = [await one.burst(key), await other.burst(key)]
            if at == 1:
                assert both == [LIMIT // INSTANCES - 10] * INSTANCES, "each its share, less what it had admitted"
            else:
                assert both == [LIMIT - 20, 0], "counted together, as ever"
        assert one.hasty.away

    async def back() -> bool:
        await one.take(keys[1])
        return not one.hasty.away

    assert await until(back)


async def test_copies_on_a_dead_master_are_read_at_the_source_and_the_others_go_on(redis: Redis, own_cluster: Cluster):
    source, prefix = Source(), f"{uuid.uuid4().hex}:"
    writer, reader = (Process(Time(), RedisTier(redis, prefix), CacheSettings(hot_reads=15)) for _ in range(2))
    names = [str(number) for number in range(150)]
    dead = [name for name in names if own_cluster.master_of(f"{prefix}{name}") == 1]
    alive = [name for name in names if name not in dead]
    for name in names:
        source.write(name, "tea")
        await reader.cache.get_or_load(name, source.load(name))
    with own_cluster.killed(1):
        asked, hits = source.asked, reader.cache.stats.redis_hits
        for name in names:
            assert await reader.cache.get_or_load(name, source.load(name)) == Ware("tea", 1)
        assert source.asked == asked + len(dead)
        assert reader.cache.stats.redis_hits == hits + len(alive)
        # Those that cannot be taken back do not stand in the way of those that can.
        writer.cache.forget({name: source.write(name, "coffee") for name in [*dead, *alive]})
        for _ in range(10):
            assert not await writer.cache.settle()
        for name in alive:
            assert await reader.cache.get_or_load(name, source.load(name)) == Ware("coffee", 2)


async def test_locks_of_a_dead_master_only_are_left_alone(redis: Redis, own_cluster: Cluster):
    locks = RedisLocks(redis, "l:")
    names = [tagged(own_cluster, at) for at in range(MASTERS)]
    tokens = [await locks.take(name, "before") for name in names]
    assert [await locks.release(name, "before") for name in names] == [True] * MASTERS
    with own_cluster.killed(1):
        for _ in range(3):
            with pytest.raises(Unavailable):
                await locks.take(names[1], "me")
            for at in (0, 2):
                assert await locks.take(names[at], "me") > tokens[at]
                assert not await locks.take(names[at], "you")
                assert await locks.release(names[at], "me")


# --- several processes ----------------------------------------------------------------------------------------------


async def test_of_several_real_processes_one_loads_for_all(redis: Redis, own_cluster: Cluster, tmp_path: Path):
    loads, pipe = tmp_path / "loads", asyncio.subprocess.PIPE
    words = [sys.executable, str(READERS), own_cluster.url, f"{uuid.uuid4().hex}:", str(loads)]
    children = [await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe) for _ in range(3)]
    for child in children:
        assert await child.stdout.readline() == b"ready\n"
    for child in children:
        child.stdin.write(b"go\n")
    assert [(await child.communicate())[0] for child in children] == [b"350\n"] * 3
    assert len(loads.read_text().splitlines()) == 1
