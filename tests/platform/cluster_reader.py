"""Reads one key through the cache: `cluster_reader.py URL PREFIX FILE`. Each load adds a line to FILE."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from doorbuster.platform.cache.codec import Codec
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.cache.tiered import TieredCache
from doorbuster.platform.redis import Redis

SETTINGS = CacheSettings(wait_ms=10_000, lease_ms=60_000)


async def main(url: str, prefix: str, file: str) -> None:
    redis = Redis(url)
    codec = Codec[int](int, lambda number: number)
    tier = RedisTier(redis, prefix)
    cache = TieredCache[int](
        lambda: SETTINGS, codec, lambda _: True, lambda: time.monotonic_ns() // 1_000_000, lambda: 0.5, tier
    )

    def note() -> None:
        with Path(file).open("a") as loads:
            loads.write(f"{os.getpid()}\n")

    async def load() -> int:
        note()
        await asyncio.sleep(0.1)
        return 7

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    found = await asyncio.gather(*[cache.get_or_load("1", load) for _ in range(50)])
    sys.stdout.write(f"{sum(number or 0 for number in found)}\n")
    await redis.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
