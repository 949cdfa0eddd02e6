"""Redlock: a lock on a majority of independent Redis servers, so that it survives the loss of the others.

The algorithm is the published one: the same owner and lease on every server at once, a short time limit for each, held
if a majority agreed and the lease, less the time it took and the drift of clocks, is not over; else let go everywhere.

The published one has no fencing token. Ours: each server counts its own takings; the token is the highest count of the
majority, and before the lock counts as held a majority has raised its counter to it. Two majorities share a server, and
the later owner took that one after it had been raised, so its token is higher. This holds as long as a majority of the
servers keeps its counters (append-only file, flushed always); beyond that, as with one Redis, the store that checks the
token is right, and `raise_fence` brings the servers above what it has seen.

A server that restarts empty may also hand a lock out twice: let it stay away for a lease before it comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.locks.holding import Holding
from doorbuster.platform.locks.port import LEASE_MS, certain_ms
from doorbuster.platform.locks.redis_lock import RedisLocks

T = TypeVar("T")

PART = 10
"""A server has this part of a lease to answer in, so that a dead one does not use the lease up."""


class Redlock(Holding):
    """`servers`: an odd number of independent ones, three or more; two of five may be away."""

    def __init__(self, servers: Sequence[RedisLocks], lease_ms: int = LEASE_MS) -> None:
        super().__init__(lease_ms)
        if len(servers) < 3 or len(servers) % 2 == 0:
            raise ValueError("Redlock needs an odd number of servers, three or more")
        self._servers = servers
        self._majority = len(servers) // 2 + 1

    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int:
        lease_ms = lease_ms or self.lease_ms
        began_s = time.monotonic()
        counts = await self._ask(self._servers, lambda each: each.take(name, owner, lease_ms))
        winners = [server for server, count in zip(self._servers, counts, strict=True) if count]
        if len(winners) >= self._majority:
            token = max(count for count in counts if count)
            raised = await self._ask(winners, lambda each: _raised(each, name, token))
            if self._held(raised, began_s, lease_ms):
                return token
        await self._ask(self._servers, lambda each: each.release(name, owner))
        self._refuse_without_majority(counts)
        return 0

    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool:
        lease_ms = lease_ms or self.lease_ms
        began_s = time.monotonic()
        renewed = await self._ask(self._servers, lambda each: each.renew(name, owner, lease_ms))
        if self._held(renewed, began_s, lease_ms):
            return True
        self._refuse_without_majority(renewed)
        return False

    async def release(self, name: str, owner: str) -> bool:
        """Everywhere, also where it seemed not to be taken: an answer may have been lost."""
        released = await self._ask(self._servers, lambda each: each.release(name, owner))
        if sum(bool(each) for each in released) >= self._majority:
            return True
        self._refuse_without_majority(released)
        return False

    async def raise_fence(self, name: str, least: int) -> None:
        """Raises Unavailable: fewer than a majority know it."""
        self._refuse_without_majority(await self._ask(self._servers, lambda each: _raised(each, name, least)))

    async def _ask(
        self, servers: Sequence[RedisLocks], question: Callable[[RedisLocks], Awaitable[T]]
    ) -> Sequence[T | None]:
        """None: no answer in time."""

        async def asked(server: RedisLocks) -> T | None:
            try:
                async with asyncio.timeout(self.lease_ms / 1000 / PART):
                    return await question(server)
            except (Unavailable, TimeoutError):
                return None

        return await asyncio.gather(*[asked(server) for server in servers])

    def _held(self, answers: Sequence[object], began_s: float, lease_ms: int) -> bool:
        took_ms = (time.monotonic() - began_s) * 1000
        return sum(bool(each) for each in answers) >= self._majority and took_ms < certain_ms(lease_ms)

    def _refuse_without_majority(self, answers: Sequence[object]) -> None:
        if sum(each is not None for each in answers) < self._majority:
            raise Unavailable("a majority of the lock servers is not available")


async def _raised(server: RedisLocks, name: str, least: int) -> bool:
    await server.raise_fence(name, least)
    return True
