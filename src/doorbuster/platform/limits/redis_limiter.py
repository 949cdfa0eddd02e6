"""Limits that all processes share: one script, one round trip, the server's clock.

Each key is one string that expires when it says nothing any more, below a hash tag of its own, so that the limits of a
cluster spread over its nodes. Who needs an answer also without Redis uses a SharedLimiter in front of this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from doorbuster.platform.limits.algorithms.port import PER_S, Algorithm
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.limits.local import policy_of, without_counting
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.redis import Call, Source

PREFIX = "doorbuster:limit:"
KEY_MAX = 128
"""Longer keys are replaced by their digest."""
SERVER_CLOCK = "local now = time"
_FRAME = """
local clock = redis.call('TIME')
local time, latest = clock[1] * 1000000 + clock[2], tonumber(ARGV[6])
if latest > 0 and time > latest then return {time} end
%s
local cost, limit, period = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local burst, queue = tonumber(ARGV[4]), tonumber(ARGV[5])
local value = redis.call('GET', KEYS[1])
local kept, idle = false, now
local function decide()
%s
end
local answer = decide()
table.insert(answer, 1, time)
if kept then
  redis.call('SET', KEYS[1], kept, 'PX', math.max(1, math.ceil((idle - now) / 1000)) + %d)
elseif value then
  redis.call('DEL', KEYS[1])
end
return answer
"""


class RedisLimiter:
    """`name` is the limiter's own part of the keys; `clock` is Lua that sets `now` from `time`, in microseconds.

    A key is kept until it is idle, and `kept_longer_ms` more: for clocks that do not pass as the server's does.
    """

    def __init__(
        self,
        redis: HastyRedis,
        name: str,
        algorithm: Algorithm,
        settings: Callable[[], LimitSettings],
        *,
        clock: str = SERVER_CLOCK,
        kept_longer_ms: int = 0,
    ) -> None:
        self._redis, self._algorithm, self._settings = redis, algorithm, settings
        # With the algorithm's name: its states mean nothing to another.
        self._prefix = f"{PREFIX}{name}:{type(algorithm).__name__}:"
        self._source = Source.of(_FRAME % (clock, algorithm.lua, kept_longer_ms))

    @property
    def policy(self) -> Policy:
        return policy_of(self._algorithm, self._settings())

    async def take(self, key: str, cost: int = 1) -> Decision:
        """Raises Unavailable, Overloaded: whether the units were taken is then not known."""
        return await self.take_by(self._settings(), key, cost)

    async def take_by(self, settings: LimitSettings, key: str, cost: int) -> Decision:
        if cost < 1 or not settings.enabled or not settings.limit:
            return without_counting(self._algorithm, settings, cost)
        words = (cost, settings.limit, settings.period_us, settings.burst, settings.queue)
        answer = await self._redis.run(Call(self._source, self.key_of(key), words))
        allowed, remaining, reset_us, retry_us, delay_us = answer
        quota = self._algorithm.quota(settings)
        return Decision(bool(allowed), quota, remaining, reset_us / PER_S, retry_us / PER_S, delay_us / PER_S)

    def key_of(self, key: str) -> str:
        short = key if len(key) <= KEY_MAX else hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        return f"{self._prefix}{{{short}}}"
