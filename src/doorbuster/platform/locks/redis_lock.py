"""Locks in Redis: taken with a time limit, released by their owner only, each with a rising fencing token."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.redis import Redis, Script

TTL_MS = 5_000
WAIT_S = 5.0
PAUSE_S = 0.002
PAUSE_MAX_S = 0.05
QUEUE_MAX = 1_000
"""How many of this process may queue for one lock."""
AFTER_FAILURE_S = 1.0
"""How long Redis is left alone after it has failed: a queue must not wait for one time-out after another."""

_TAKE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return redis.call('INCR', KEYS[2]) end
return 0
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
_RAISE = """
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1]) end
return redis.call('GET', KEYS[1])
"""


class _Queue:
    def __init__(self) -> None:
        self.turn, self.length = asyncio.Lock(), 0


class RedisLocks:
    """Named locks below a prefix."""

    def __init__(self, redis: Redis, prefix: str, ttl_ms: int = TTL_MS) -> None:
        self._prefix, self._ttl_ms = prefix, ttl_ms
        self._take, self._release = redis.script(_TAKE), redis.script(_RELEASE)
        self._raise = redis.script(_RAISE)
        self._queues: dict[str, _Queue] = {}
        self._alone_until_s = 0.0

    async def take(self, name: str, owner: str) -> int:
        """The fencing token; 0: somebody else has it. Raises Unavailable."""
        return int(await self._ask(self._take, [self._lock(name), self._fence(name)], owner, self._ttl_ms))

    async def release(self, name: str, owner: str) -> bool:
        """False: it was not the owner's any more. Raises Unavailable."""
        return bool(await self._ask(self._release, [self._lock(name)], owner))

    async def raise_fence(self, name: str, least: int) -> None:
        """Tokens go on above `least`: Redis had forgotten those that the store has seen. Raises Unavailable."""
        await self._ask(self._raise, [self._fence(name)], least)

    async def _ask(self, script: Script, keys: list[str], *arguments: object) -> Any:
        if asyncio.get_running_loop().time() < self._alone_until_s:
            raise Unavailable("Redis has just failed")
        try:
            return await script(keys, *arguments)
        except Unavailable:
            self._alone_until_s = asyncio.get_running_loop().time() + AFTER_FAILURE_S
            raise

    @asynccontextmanager
    async def holding(self, names: Sequence[str]) -> AsyncGenerator[dict[str, int]]:
        """All of these locks, taken in the order given, with their tokens. Raises Overloaded, Unavailable."""
        owner = secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            tokens: dict[str, int] = {}
            for name in names:
                await stack.enter_async_context(self._in_turn(name))
                stack.push_async_callback(self._let_go, name, owner)
                tokens[name] = await self._wait_for(name, owner)
            yield tokens

    @asynccontextmanager
    async def _in_turn(self, name: str) -> AsyncGenerator[None]:
        """One of this process at a time asks Redis, in order of arrival; the others do not poll. Raises Overloaded."""
        queue = self._queues.setdefault(name, _Queue())
        if queue.length >= QUEUE_MAX:
            raise Overloaded("too many wait for the same stock")
        queue.length += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[name]

    async def _wait_for(self, name: str, owner: str) -> int:
        end_s = asyncio.get_running_loop().time() + WAIT_S
        pause_s = PAUSE_S
        while not (token := await self.take(name, owner)):
            if asyncio.get_running_loop().time() > end_s:
                raise Overloaded("too many wait for the same stock")
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return token

    async def _let_go(self, name: str, owner: str) -> None:
        try:
            await self.release(name, owner)
        except Unavailable:
            return  # its time limit releases it

    def _lock(self, name: str) -> str:
        return f"{self._prefix}lock:{{{name}}}"

    def _fence(self, name: str) -> str:
        """On the same slot of a cluster as the lock: a script uses both."""
        return f"{self._prefix}fence:{{{name}}}"
