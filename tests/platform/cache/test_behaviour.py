"""What every cache does, whatever tiers it has."""

from __future__ import annotations

import asyncio

import pytest

from doorbuster.platform.cache.settings import CacheSettings
from platform_cache_goods import Process, Source, Ware


@pytest.fixture
def process(open_process) -> Process:
    return open_process()


async def test_what_was_read_is_read_once(process: Process, source: Source):
    source.write("1", "tea")
    for _ in range(5):
        assert await process.cache.get_or_load("1", source.load("1")) == Ware("tea", 1)
    assert source.asked == 1
    assert await process.cache.get("1") == Ware("tea", 1)
    assert await process.cache.get("2") is None
    assert source.asked == 1


async def test_a_crowd_asks_once(process: Process, source: Source):
    source.write("1", "tea")
    source.gate.clear()
    crowd = [asyncio.create_task(process.cache.get_or_load("1", source.load("1"))) for _ in range(200)]
    await source.reading.wait()
    await asyncio.sleep(0)
    source.gate.set()
    assert set(await asyncio.gather(*crowd)) == {Ware("tea", 1)}
    assert source.asked == 1
    assert process.cache.stats.joined == 199


async def test_who_leaves_does_not_end_it_for_the_others(process: Process, source: Source):
    source.write("1", "tea")
    source.gate.clear()
    first = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await source.reading.wait()
    second = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    assert await second == Ware("tea", 1)
    assert source.asked == 1


async def test_a_failure_is_told_to_all_and_not_kept(process: Process, source: Source):
    async def fail() -> Ware | None:
        raise OSError("the database is away")

    crowd = [process.cache.get_or_load("1", fail) for _ in range(3)]
    assert [type(each) for each in await asyncio.gather(*crowd, return_exceptions=True)] == [OSError] * 3
    source.write("1", "tea")
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("tea", 1)
    assert await process.cache.get("1") == Ware("tea", 1), "the lease of the one that failed was given back"


async def test_that_there_is_nothing_is_known_for_a_short_while(process: Process, source: Source):
    for _ in range(3):
        assert await process.cache.get_or_load("1", source.load("1")) is None
    assert source.asked == 1
    process.cache.forget({"1": source.write("1", "tea")})
    await process.cache.settle()
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("tea", 1), "or until there is"


async def test_a_change_is_read_at_once(process: Process, source: Source):
    source.write("1", "tea")
    await process.cache.get_or_load("1", source.load("1"))
    process.cache.forget({"1": source.write("1", "coffee")})
    # Redis may not have heard of it yet: this process knows.
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("coffee", 2)
    assert await process.cache.settle()
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("coffee", 2)


async def test_news_that_come_twice_take_nothing_back(process: Process, source: Source):
    source.write("1", "tea")
    version = source.write("1", "coffee")
    await process.cache.get_or_load("1", source.load("1"))
    process.cache.forget({"1": version})
    await process.cache.settle()
    await process.cache.get_or_load("1", source.load("1"))
    assert source.asked == 1


async def test_a_slow_reader_does_not_write_back_what_it_read_before_the_change(process: Process, source: Source):
    """The classical race: read old, change, take back, and only then put."""
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await source.reading.wait()
    process.cache.forget({"1": source.write("1", "coffee")})
    await process.cache.settle()
    source.gate.set()
    assert await slow == Ware("tea", 1), "it began before the change"
    assert process.cache.stats.refused >= 1
    assert await process.cache.get("1") is None
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("coffee", 2)


async def test_who_asks_after_a_change_does_not_join_a_read_from_before(process: Process, source: Source):
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await source.reading.wait()
    process.cache.forget({"1": source.write("1", "coffee")})
    later = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    source.gate.set()
    assert (await slow, await later) == (Ware("tea", 1), Ware("coffee", 2))


async def test_one_s_own_change_is_there_without_a_read(process: Process, source: Source):
    source.write("1", "tea")
    await process.cache.get_or_load("1", source.load("1"))
    with process.cache.changing("1") as change:
        source.write("1", "coffee")
        change.done(source.wares["1"])
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("coffee", 2)
    assert source.asked == 1


async def test_one_s_own_change_that_was_overtaken_is_not_kept(process: Process, source: Source):
    source.write("1", "tea")
    with process.cache.changing("1") as change:
        source.write("1", "coffee")
        mine = source.wares["1"]
        process.cache.forget({"1": source.write("1", "milk")})
        change.done(mine)
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("milk", 3)


async def test_who_hears_of_no_changes_asks_the_source(process: Process, source: Source):
    source.write("1", "tea")
    await process.cache.get_or_load("1", source.load("1"))
    process.trusted = False
    source.write("1", "coffee")
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("coffee", 2)
    assert await process.cache.get("1") is None
    assert process.cache.stats.bypassed == 1


async def test_switched_off_it_asks_the_source(open_process, source: Source):
    process = open_process(CacheSettings(enabled=False))
    source.write("1", "tea")
    for _ in range(3):
        await process.cache.get_or_load("1", source.load("1"))
    assert source.asked == 3


async def test_preloaded_is_local(process: Process, source: Source):
    process.settings = CacheSettings(hot_reads=4)
    source.write("1", "tea")
    await process.cache.preload("1", source.load("1"))
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("tea", 1)
    assert (source.asked, process.cache.stats.local_hits, process.cache.stats.redis_hits) == (1, 1, 0)


async def test_cleared_is_gone_and_reads_under_way_are_not_kept(process: Process, source: Source):
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await source.reading.wait()
    process.cache.clear()
    source.gate.set()
    await slow
    assert process.cache.stats.refused == 1


async def test_flushed_is_gone_from_every_tier_and_is_read_again(process: Process, source: Source):
    for key in ("1", "2"):
        source.write(key, "tea")
        await process.cache.get_or_load(key, source.load(key))
    assert process.cache.entries() == 2
    flushed = await process.cache.flush()
    assert (flushed.local, flushed.redis in (None, 2), flushed.complete) == (2, True, True)
    assert process.cache.entries() == 0
    assert await process.cache.get("1") is None
    assert await process.cache.get_or_load("1", source.load("1")) == Ware("tea", 1)
    assert source.asked == 3


async def test_what_is_being_read_while_it_is_flushed_is_not_kept(process: Process, source: Source):
    source.write("1", "tea")
    source.gate.clear()
    slow = asyncio.create_task(process.cache.get_or_load("1", source.load("1")))
    await source.reading.wait()
    await process.cache.flush()
    source.gate.set()
    assert await slow == Ware("tea", 1)
    assert await process.cache.get("1") is None
