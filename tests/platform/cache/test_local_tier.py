"""The local tier is bounded and keeps what is asked for often."""

from __future__ import annotations

import random

import pytest

from doorbuster.platform.cache.local import Entry, LocalTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.cache.sketch import COUNT_MAX, FrequencySketch
from platform_cache_goods import Process, Source, Time

FOREVER = 1 << 60


def read(tier: LocalTier[int], key: str) -> bool:
    """As a cache does: whether it was there; else it is put."""
    tier.seen(key)
    if tier.get(key, 0) is not None:
        return True
    tier.put(key, Entry(1, 1, FOREVER))
    return False


@pytest.mark.parametrize("capacity", [1, 2, 100])
def test_never_more_than_its_capacity(capacity: int):
    tier, chance = LocalTier[int](capacity), random.Random(1)
    for _ in range(5_000):
        read(tier, str(chance.randrange(10 * capacity)))
        assert len(tier) <= capacity


def test_a_crawler_that_reads_everything_once_pushes_out_nothing_hot():
    tier = LocalTier[int](100)
    hot = [f"hot-{number}" for number in range(80)]
    for _ in range(5):
        for key in hot:
            read(tier, key)
    for number in range(500):
        read(tier, f"once-{number}")
    kept = sum(tier.get(key, 0) is not None for key in hot)
    assert kept >= 72, "a plain LRU of 100 would have kept none"


def test_what_was_hot_yesterday_makes_room():
    tier = LocalTier[int](50)
    for _ in range(20):
        for number in range(50):
            read(tier, f"old-{number}")
    for _ in range(60):
        for number in range(50):
            read(tier, f"new-{number}")
    assert sum(tier.get(f"new-{number}", 0) is not None for number in range(50)) >= 40


def test_smaller_while_it_runs():
    tier = LocalTier[int](100)
    for number in range(100):
        read(tier, str(number))
    tier.resize(10)
    assert len(tier) <= 10


def test_the_sketch_never_counts_too_few_and_ages():
    sketch, chance = FrequencySketch(1_000), random.Random(2)
    asked = [str(int(chance.paretovariate(1.0))) for _ in range(5_000)]
    for key in asked:
        sketch.add(key)
    for key in set(asked):
        assert sketch.count(key) >= min(asked.count(key), COUNT_MAX)
    before = sketch.count("1")
    sketch.age()
    assert sketch.count("1") == before // 2 == COUNT_MAX // 2


async def test_entries_expire_by_their_jitter(now: Time, source: Source):
    process = Process(now, None, CacheSettings(local_ms=1_000, jitter_percent=10, negative_ms=100))
    source.write("1", "tea")
    await process.cache.get_or_load("1", source.load("1"))
    await process.cache.get_or_load("gone", source.load("gone"))
    now.now_ms += 94  # the dice say a half: 5 % early
    await process.cache.get_or_load("gone", source.load("gone"))
    assert source.asked == 2
    now.now_ms += 1
    await process.cache.get_or_load("gone", source.load("gone"))
    assert source.asked == 3, "that there was nothing is known for a short while only"
    now.now_ms += 950 - 95
    await process.cache.get_or_load("1", source.load("1"))
    assert source.asked == 4
