"""The Redis tier: what one process has loaded, for all. One hash per key, so that it may be a cluster.

Whoever misses gets a lease with a token: it loads for all, and only with its token, within its time, may it write.
What takes a key back takes the lease too. So a value that was read before a change is never written after it, however
slow its reader was (leases of memcached at Facebook, Nishtala et al. 2013).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.redis import Redis

PENDING_MAX = 10_000
"""Changes that Redis has not heard of. With more of them it is not asked until all it holds has expired."""
AT_ONCE, ROUNDS_MAX = 32, 8
"""Keys taken back together, and how often before others have their turn."""

SCAN_COUNT, SCANS_MAX = 1_000, 10_000
"""How much Redis looks through in one step, and at most how many steps a flush takes on each server."""

# Times are those of the Redis server: whoever was stopped for a while is late by its clock, not by their own.
_LOOK = """
local found = redis.call('HMGET', KEYS[1], 'body', 'version', 'lease_until')
if found[1] then return {'hit', found[1], found[2]} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if found[3] and tonumber(found[3]) > now then return {'busy'} end
redis.call('HSET', KEYS[1], 'lease', ARGV[1], 'lease_until', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {'lease'}
"""
_PUT = """
local found = redis.call('HMGET', KEYS[1], 'lease', 'lease_until')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if found[1] ~= ARGV[1] or tonumber(found[2]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'body', ARGV[2], 'version', ARGV[3])
redis.call('HDEL', KEYS[1], 'lease', 'lease_until')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""
# Deletes only: that works on a Redis that is full, too.
_RELEASE = """
if redis.call('HGET', KEYS[1], 'lease') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
_TAKE_BACK = """
local version = redis.call('HGET', KEYS[1], 'version')
if version and tonumber(version) >= tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
"""


class Looked(NamedTuple):
    """`lease`: load it, for all. `busy`: somebody does."""

    state: Literal["hit", "busy", "lease"]
    body: str = ""
    version: int = 0


class RedisTier:
    """Values as text. Every method but `distrusted` raises Unavailable."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._look, self._put = redis.script(_LOOK), redis.script(_PUT)
        self._release, self._take_back = redis.script(_RELEASE), redis.script(_TAKE_BACK)
        self._pending: dict[str, int] = {}
        self._distrusted_until_ms = 0

    def distrusted(self, key: str, now_ms: int) -> bool:
        """Whether Redis may hold something older than this process knows of."""
        return key in self._pending or now_ms < self._distrusted_until_ms

    def settled(self, now_ms: int) -> bool:
        """Whether Redis has heard of every change."""
        return not self._pending and now_ms >= self._distrusted_until_ms

    async def look(self, key: str, token: str, lease_ms: int) -> Looked:
        found: Any = await self._look([self._prefix + key], token, lease_ms)
        return Looked("hit", str(found[1]), int(found[2])) if found[0] == "hit" else Looked(found[0])

    async def peek(self, key: str) -> Looked | None:
        """What is there, without a lease."""
        body, version = await self._redis.command("HMGET", self._prefix + key, "body", "version")
        return None if body is None else Looked("hit", str(body), int(version))

    async def put(self, key: str, token: str, body: str, version: int, expires_ms: int) -> bool:
        """Whether it was still wanted: the token's lease has neither ended nor been taken back."""
        return bool(await self._put([self._prefix + key], token, body, version, expires_ms))

    async def release(self, key: str, token: str) -> None:
        """Another may load it."""
        await self._release([self._prefix + key], token)

    async def flush(self) -> tuple[int, bool]:
        """Deletes all values and leases of this prefix: how many, and whether nothing was left out."""
        deleted, complete = 0, True
        for place in await self._redis.places():
            here, to_the_end = await self._flush_at(place)
            deleted, complete = deleted + here, complete and to_the_end
        return deleted, complete

    async def _flush_at(self, place: str) -> tuple[int, bool]:
        deleted, cursor = 0, "0"
        for _ in range(SCANS_MAX):
            words = ("SCAN", cursor, "MATCH", f"{self._prefix}*", "COUNT", SCAN_COUNT)
            cursor, keys = await self._redis.command(*words, at=place)
            for key in keys:  # one by one: they lie on different slots
                deleted += int(await self._redis.command("DEL", key))
            if str(cursor) == "0":
                return deleted, True
        return deleted, False

    def must_take_back(self, changes: Mapping[str, int], now_ms: int, expires_ms: int) -> None:
        """From now on these keys are not read here, until `take_back` has reached Redis."""
        for key, version in changes.items():
            self._pending[key] = max(version, self._pending.get(key, 0))
        if len(self._pending) > PENDING_MAX:
            self._pending.clear()
            self._distrusted_until_ms = now_ms + expires_ms

    async def take_back(self) -> None:
        """Tells Redis what it has not heard of, or the first of it: see `settled`."""
        for _ in range(ROUNDS_MAX):
            if not self._pending:
                return
            batch = dict(list(self._pending.items())[:AT_ONCE])
            done = await asyncio.gather(
                *(self._take_back([self._prefix + key], version) for key, version in batch.items()),
                return_exceptions=True,
            )
            for (key, version), outcome in zip(batch.items(), done, strict=True):
                if not isinstance(outcome, BaseException) and self._pending.get(key) == version:
                    del self._pending[key]
                elif key in self._pending:  # behind the others: one server of a cluster may be away, they are not
                    self._pending[key] = self._pending.pop(key)
            for outcome in done:
                if isinstance(outcome, BaseException):
                    raise outcome if isinstance(outcome, Exception) else Unavailable from outcome
