"""A limit that all processes share on Redis, and what is done while Redis is away: declared, not left to chance.

Each instance also keeps its own book of what it has admitted, by Redis' word or without it. Redis may forget
(restarted, flushed, evicted); the book makes sure that one instance never admits more than the whole limit, whatever
Redis says, and while Redis is away never more than its share, counting what it had admitted before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from doorbuster.kernel.errors import Busy
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.local import KEYS_MAX, LocalLimiter, monotonic_us
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.redis_limiter import SERVER_CLOCK, RedisLimiter
from doorbuster.platform.limits.settings import LimitSettings, share_of

WhenAway = Literal["share", "open", "closed"]
"""share: limit / instances each (a sale's door); open: everybody (browsing); closed: nobody."""
CLOSED_RETRY_S = 1.0


class SharedLimiter:
    def __init__(
        self,
        redis: HastyRedis,
        name: str,
        algorithm: Algorithm,
        settings: Callable[[], LimitSettings],
        *,
        when_away: WhenAway,
        instances: Callable[[], int],
        now_us: Callable[[], int] = monotonic_us,
        keys_max: int = KEYS_MAX,
        clock: str = SERVER_CLOCK,
    ) -> None:
        self._settings, self._when_away, self._instances, self._now_us = settings, when_away, instances, now_us
        self._algorithm = algorithm
        self._shared = RedisLimiter(redis, name, algorithm, settings, clock=clock)
        self._book = LocalLimiter(algorithm, settings, now_us=now_us, keys_max=keys_max)

    @property
    def policy(self) -> Policy:
        return self._shared.policy

    async def take(self, key: str, cost: int = 1) -> Decision:
        settings = self._settings()
        # Keys that find no room in the book go by Redis alone: the spare states are for when it is away.
        booked = self._when_away != "open" and self._book.has_room_for(key)
        if booked:
            own = self._book.take_by(settings, key, cost)
            if not own.allowed:
                return own
        taken_us = self._now_us()
        try:
            decision = await self._shared.take_by(settings, key, cost)
        except Busy:
            if booked:
                self._book.give_back(settings, key, cost, taken_us)
            return self._without_redis(settings, key, cost)
        if booked and not decision.allowed:
            self._book.give_back(settings, key, cost, taken_us)
        self._book.agree(key, decision.reset_s)
        return decision

    def _without_redis(self, settings: LimitSettings, key: str, cost: int) -> Decision:
        if self._when_away == "share":
            return self._book.take_by(share_of(settings, max(1, self._instances())), key, cost)
        quota = self._algorithm.quota(settings)
        if self._when_away == "open":
            return Decision(True, quota, quota, 0.0, 0.0)
        return Decision(False, quota, 0, CLOSED_RETRY_S, CLOSED_RETRY_S)
