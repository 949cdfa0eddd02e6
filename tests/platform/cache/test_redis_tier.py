"""Several processes on one real Redis, and what holds when it is away, hung, flushed, full."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from doorbuster.platform.cache import redis_tier
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CACHE_REDIS, CacheSettings
from doorbuster.platform.neighbour import Neighbours
from doorbuster.platform.redis import Redis
from platform_cache_goods import Process, Source, Time, Ware
from redis_server import RedisServer


async def read(process: Process, source: Source, key: str = "1") -> Ware | None:
    return await process.cache.get_or_load(key, source.load(key))


async def test_what_one_has_loaded_the_other_need_not(open_shared, source: Source):
    one, other = open_shared(), open_shared()
    source.write("1", "tea")
    assert await read(one, source) == await read(other, source) == Ware("tea", 1)
    assert (source.asked, other.cache.stats.redis_hits) == (1, 1)


async def test_only_what_is_hot_moves_into_the_process(open_shared, source: Source):
    loader, reader = open_shared(), open_shared(CacheSettings(hot_reads=3))
    source.write("1", "tea")
    await read(loader, source)
    for _ in range(5):
        await read(reader, source)
    assert (reader.cache.stats.redis_hits, reader.cache.stats.local_hits) == (3, 2)


async def test_of_several_processes_one_loads_and_the_others_wait(open_shared, source: Source):
    processes = [open_shared(CacheSettings(wait_ms=3_000)) for _ in range(5)]
    source.write("1", "tea")
    source.gate.clear()
    crowd = [asyncio.create_task(read(process, source)) for process in processes for _ in range(20)]
    await source.reading.wait()
    source.gate.set()
    assert set(await asyncio.gather(*crowd)) == {Ware("tea", 1)}
    assert source.asked == 1


async def test_who_has_waited_long_enough_loads_alone(open_shared, source: Source):
    slow, other = open_shared(), open_shared(CacheSettings(wait_ms=0))
    source.write("1", "tea")
    source.gate.clear()
    loading = asyncio.create_task(read(slow, source))
    await source.reading.wait()
    alone = asyncio.create_task(read(other, source))
    while source.asked < 2:
        await asyncio.sleep(0.001)
    source.gate.set()
    assert await alone == await loading == Ware("tea", 1)


async def test_a_reader_of_another_process_does_not_write_back_what_was_changed(open_shared, source: Source, redis):
    reader, writer = open_shared(), open_shared()
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(read(reader, source))
    await source.reading.wait()
    writer.cache.forget({"1": source.write("1", "coffee")})
    assert await writer.cache.settle()  # the reader's process has not heard of it
    source.gate.set()
    assert await slow == Ware("tea", 1)
    assert await writer.cache.get("1") is None, "its lease was taken back: it could not write"
    assert await read(writer, source) == Ware("coffee", 2)


async def test_a_lease_that_has_ended_writes_nothing(redis: Redis, prefix: str):
    tier = RedisTier(redis, prefix)
    assert (await tier.look("1", "mine", 10)).state == "lease"
    while (await tier.look("1", "yours", 60_000)).state != "lease":
        await asyncio.sleep(0.005)
    assert not await tier.put("1", "mine", "old", 1, 1_000)
    assert await tier.put("1", "yours", "new", 2, 1_000)
    assert not await tier.put("1", "yours", "again", 2, 1_000), "a lease is for one value"
    assert (await tier.look("1", "x", 10)) == ("hit", "new", 2)


async def test_everything_in_redis_expires(redis: Redis, prefix: str, open_shared, source: Source):
    source.write("1", "tea")
    process = open_shared(CacheSettings(expires_ms=60_000, negative_ms=500))
    await read(process, source)
    await read(process, source, "gone")
    tier = RedisTier(redis, prefix)
    await tier.look("leased", "x", 5_000)
    left = [int(await redis.command("PTTL", f"{prefix}{key}")) for key in ("1", "gone", "leased")]
    assert 0 < left[0] <= 57_000
    assert left[1] <= 475
    assert 0 < left[2] <= 5_000


async def test_a_value_of_another_release_is_no_value(redis: Redis, prefix: str, open_shared, source: Source):
    tier, process = RedisTier(redis, prefix), open_shared()
    await tier.look("1", "x", 5_000)
    await tier.put("1", "x", '{"title": 1}', 1, 60_000)
    source.write("1", "tea")
    assert await process.cache.get("1") is None
    assert await read(process, source) == Ware("tea", 1)


async def test_more_changes_than_can_be_remembered_distrust_all_of_redis(
    redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch, now: Time, source: Source
):
    monkeypatch.setattr(redis_tier, "PENDING_MAX", 10)
    process = Process(now, RedisTier(redis, prefix), CacheSettings(hot_reads=15, expires_ms=60_000))
    source.write("1", "tea")
    await read(process, source)
    process.cache.forget({str(number): 5 for number in range(100, 111)})
    assert not await process.cache.settle()
    await read(process, source)
    assert source.asked == 2, "it is not known what Redis holds"
    now.now_ms += 60_000
    assert await process.cache.settle()


# --- a Redis in trouble ---------------------------------------------------------------------------------------------


@pytest.fixture
async def mortal(own_redis: RedisServer, now: Time):
    neighbours = Neighbours()
    redis = Redis(own_redis.url, lambda server: neighbours.get("redis.cache", server, lambda: CACHE_REDIS.default))
    yield Process(now, RedisTier(redis, "c:"), CacheSettings(hot_reads=15))
    await redis.close()


async def test_dead(mortal: Process, own_redis: RedisServer, source: Source):
    source.write("1", "tea")
    await read(mortal, source)
    own_redis.stop()
    for number in range(200):
        source.write(f"{number}", "tea")
        assert await read(mortal, source, f"{number}") == source.wares[f"{number}"]
        assert await read(mortal, source, f"{number}") == source.wares[f"{number}"]
    assert source.asked == 201, "the local tier goes on"
    mortal.cache.forget({"1": source.write("1", "coffee")})
    assert not await mortal.cache.settle()
    assert await read(mortal, source) == Ware("coffee", 3)


async def test_hung(mortal: Process, own_redis: RedisServer, source: Source):
    source.write("1", "tea")
    await read(mortal, source)
    os.kill(own_redis.pid, signal.SIGSTOP)
    try:
        crowd = [read(mortal, source, str(number)) for number in range(100)]
        async with asyncio.timeout(20):  # a hundred times its limit would be longer
            await asyncio.gather(*crowd)
        mortal.cache.forget({"1": source.write("1", "coffee")})
        assert not await mortal.cache.settle()
        assert await read(mortal, source) == Ware("coffee", 2)
    finally:
        os.kill(own_redis.pid, signal.SIGCONT)
    async with asyncio.timeout(20):
        while not await mortal.cache.settle():
            await asyncio.sleep(0.05)
    plain = Redis(own_redis.url)
    assert await plain.command("HGET", "c:1", "body") is None, "Redis has heard of it since"
    await plain.close()


async def test_flushed(mortal: Process, own_redis: RedisServer, source: Source):
    plain = Redis(own_redis.url)
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(read(mortal, source))
    await source.reading.wait()
    await plain.everywhere("FLUSHALL")
    source.gate.set()
    assert await slow == Ware("tea", 1)
    assert await plain.command("EXISTS", "c:1") == 0, "its lease went with the rest"
    assert await read(mortal, source) == Ware("tea", 1)
    assert await plain.command("EXISTS", "c:1") == 1
    await plain.everywhere("SCRIPT", "FLUSH")
    mortal.cache.forget({"1": source.write("1", "coffee")})
    assert await mortal.cache.settle(), "scripts are sent again"
    await plain.close()


async def test_flushing_leaves_others_keys_alone_and_stops_at_its_bound(
    mortal: Process, own_redis: RedisServer, monkeypatch
):
    plain = Redis(own_redis.url)
    for number in range(50):
        await plain.command("HSET", f"c:{number}", "body", "x")
    await plain.command("SET", "other:1", "precious")
    monkeypatch.setattr(redis_tier, "SCAN_COUNT", 1)
    monkeypatch.setattr(redis_tier, "SCANS_MAX", 1)
    first = await mortal.cache.flush()
    assert (first.redis is not None and first.redis < 50, first.complete) == (True, False)
    monkeypatch.setattr(redis_tier, "SCANS_MAX", 10_000)
    rest = await mortal.cache.flush()
    assert (first.redis or 0) + (rest.redis or 0) == 50
    assert rest.complete
    assert await plain.command("KEYS", "*") == ["other:1"]
    await plain.close()


async def test_flushing_without_redis_empties_the_process_and_says_so(
    mortal: Process, own_redis: RedisServer, source: Source
):
    source.write("1", "tea")
    await mortal.cache.preload("1", source.load("1"))
    own_redis.stop()
    flushed = await mortal.cache.flush()
    assert (flushed.local, flushed.redis, flushed.complete) == (1, None, False)
    assert mortal.cache.entries() == 0


async def test_full(mortal: Process, own_redis: RedisServer, source: Source):
    plain = Redis(own_redis.url)
    source.write("1", "tea")
    await read(mortal, source)
    await plain.everywhere("CONFIG", "SET", "maxmemory", "1")
    source.write("2", "milk")
    for _ in range(3):
        assert await read(mortal, source, "2") == Ware("milk", 1)
    mortal.cache.forget({"1": source.write("1", "coffee")})
    assert await mortal.cache.settle(), "what is full can still forget"
    assert await plain.command("EXISTS", "c:1") == 0
    await plain.close()
