"""A limiter under test on either engine, with a clock that only moves when told to."""

from __future__ import annotations

import uuid

from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.port import Decision, Limiter
from doorbuster.platform.limits.redis_limiter import RedisLimiter
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.redis import Redis

NOW_US = 1_790_000_000_000_000
PATIENT_S = 30.0
"""A limit of time that a slow machine keeps, for tests of something else."""


class Bench:
    """A limiter under test, its thresholds and its clock."""

    def __init__(self, redis: Redis | None) -> None:
        self.now_us, self.settings = NOW_US, LimitSettings()
        self._redis, self._name = redis, uuid.uuid4().hex
        self._hasty = HastyRedis(redis, limit_s=PATIENT_S) if redis else None
        self.limiter: Limiter

    async def open(self, algorithm: Algorithm, **settings: object) -> None:
        self.settings = LimitSettings(**settings)  # pyright: ignore[reportArgumentType]
        if self._hasty is None:
            self.limiter = LocalLimiter(algorithm, lambda: self.settings, now_us=lambda: self.now_us)
        else:
            clock = f"local now = tonumber(redis.call('GET', 'clock-{self._name}'))"
            self.limiter = RedisLimiter(
                self._hasty, self._name, algorithm, lambda: self.settings, clock=clock, kept_longer_ms=600_000
            )
        await self.advance(0)

    def change(self, **settings: object) -> None:
        self.settings = LimitSettings(**settings)  # pyright: ignore[reportArgumentType]

    async def advance(self, seconds: float) -> None:
        self.now_us += round(seconds * 1_000_000)
        if self._redis is not None:
            await self._redis.command("SET", f"clock-{self._name}", self.now_us, "EX", 600)

    async def take(self, key: str = "k", cost: int = 1) -> Decision:
        return await self.limiter.take(key, cost)

    async def admitted(self, tries: int, key: str = "k", cost: int = 1) -> int:
        return sum([(await self.take(key, cost)).allowed for _ in range(tries)])
