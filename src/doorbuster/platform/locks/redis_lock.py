"""Locks in one Redis: taken with a lease, released by their owner only, each with a rising fencing token.

The tokens rise as long as Redis remembers them. When it has forgotten (flushed, restarted empty), the store that checks
them has not: it refuses, and `raise_fence` brings Redis above what the store has seen.
"""

from __future__ import annotations

import asyncio
from typing import Any

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.locks.holding import Holding
from doorbuster.platform.locks.port import LEASE_MS
from doorbuster.platform.redis import Redis, Script

AFTER_FAILURE_S = 1.0
"""How long Redis is left alone after it has failed: a queue must not wait for one time-out after another."""

_TAKE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('INCR', KEYS[2]) end
return 0
"""
_RENEW = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_RAISE = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return redis.call('GET', KEYS[1])
"""


class RedisLocks(Holding):
    """Named locks below a prefix. The fence of each name ever used stays: names are of things, not of requests."""

    def __init__(self, redis: Redis, prefix: str, lease_ms: int = LEASE_MS) -> None:
        super().__init__(lease_ms)
        self._redis, self._prefix = redis, prefix
        self._take, self._release = redis.script(_TAKE), redis.script(_RELEASE)
        self._renewal, self._raise = redis.script(_RENEW), redis.script(_RAISE)
        self._alone_until_s: dict[str, float] = {}
        """By the server that failed: of a cluster, the others go on."""

    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int:
        keys = [self._lock(name), self._fence(name)]
        return int(await self._ask(self._take, keys, owner, lease_ms or self.lease_ms))

    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool:
        return bool(await self._ask(self._renewal, [self._lock(name)], owner, lease_ms or self.lease_ms))

    async def release(self, name: str, owner: str) -> bool:
        return bool(await self._ask(self._release, [self._lock(name)], owner))

    async def raise_fence(self, name: str, least: int) -> None:
        """Tokens go on above `least`: Redis had forgotten those that the store has seen. Raises Unavailable."""
        await self._ask(self._raise, [self._fence(name)], least)

    async def _ask(self, script: Script, keys: list[str], *arguments: object) -> Any:
        place = self._redis.place_of(keys[0])
        if asyncio.get_running_loop().time() < self._alone_until_s.get(place, 0.0):
            raise Unavailable("Redis has just failed")
        try:
            return await script(keys, *arguments)
        except Unavailable:
            self._alone_until_s[place] = asyncio.get_running_loop().time() + AFTER_FAILURE_S
            raise

    def _lock(self, name: str) -> str:
        return f"{self._prefix}lock:{{{name}}}"

    def _fence(self, name: str) -> str:
        """On the same slot of a cluster as the lock: a script uses both."""
        return f"{self._prefix}fence:{{{name}}}"
