"""Versioned values and a source that counts who asks it, for the tests of the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from msgspec import Struct

from doorbuster.platform.cache.codec import Codec
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.cache.tiered import TieredCache


class Ware(Struct, frozen=True):
    name: str
    version: int


class Source:
    """Stands for the database. `gate` holds reads back after they have read."""

    def __init__(self) -> None:
        self.wares: dict[str, Ware] = {}
        self.asked = 0
        self.reading = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    def write(self, key: str, name: str) -> int:
        version = self.wares[key].version + 1 if key in self.wares else 1
        self.wares[key] = Ware(name, version)
        return version

    def load(self, key: str) -> Callable[[], Awaitable[Ware | None]]:
        async def read() -> Ware | None:
            self.asked += 1
            found = self.wares.get(key)
            self.reading.set()
            await self.gate.wait()
            return found

        return read


class Time:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


class Process:
    """A cache as one process has it."""

    def __init__(self, now_ms: Time, redis: RedisTier | None, settings: CacheSettings) -> None:
        self.settings, self.trusted = settings, True
        codec = Codec[Ware](Ware, lambda ware: ware.version)
        self.cache = TieredCache[Ware](lambda: self.settings, codec, lambda _: self.trusted, now_ms, lambda: 0.5, redis)
