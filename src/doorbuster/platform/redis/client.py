"""The connection to Redis, for what chooses to use it. The client's library is imported only then.

It is called as a neighbour: a server that hangs or is gone is soon left alone, and those who use it go on without it.
Of a cluster each master is a neighbour for itself, so that the others go on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.neighbour import Neighbour, TooSlow
from doorbuster.platform.redis.address import CLUSTER
from doorbuster.platform.redis.scripts import Call, Script, Source
from doorbuster.platform.redis.settings import REDIS

if TYPE_CHECKING:
    from doorbuster.platform.redis.way import Way

T = TypeVar("T")
NeighbourOf = Callable[[str], Neighbour]
"""By the server's address in a cluster; a server alone is \"\"."""


class Redis:
    """One server, or a cluster (`redis+cluster://`); every failure of it is Unavailable."""

    def __init__(self, url: str, neighbour_of: NeighbourOf | None = None) -> None:
        """Without neighbours of the platform's it has its own, on the declared terms. Raises ValueError."""
        from doorbuster.platform.redis.server import FAILURES, Server

        neighbour_of = neighbour_of or _of_our_own
        self._failures = (*FAILURES, TooSlow, Overloaded)
        self._way: Way
        if CLUSTER in url:
            from doorbuster.platform.redis.cluster import Cluster

            self._way = Cluster(url, neighbour_of)
        else:
            self._way = Server(url, neighbour_of(""))

    def script(self, text: str) -> Script:
        return Script(self, text)

    def place_of(self, key: str) -> str:
        """Which server has this key, if that is known: what fails there says nothing of other places."""
        return self._way.place_of(key)

    async def places(self) -> Sequence[str]:
        """All servers that have keys. Raises Unavailable."""
        return await self._heard(self._way.places())

    async def command(self, *words: object, at: str | None = None) -> Any:
        """Of the server that has the key, the second word; or `at` a place. Raises Unavailable."""
        return await self._heard(self._way.ask(words, at))

    async def everywhere(self, *words: object) -> list[Any]:
        """What each server says to a command that is about no key. Raises Unavailable."""
        return await asyncio.gather(*(self.command(*words, at=place) for place in await self.places()))

    async def run(self, source: Source, keys: Sequence[str], arguments: Sequence[object]) -> Any:
        """Raises Unavailable."""
        return await self._heard(self._way.run(source, keys, arguments))

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """The scripts' answers, in one round trip to each server; Unavailable for a call that failed alone.

        Raises Unavailable, if all failed together.
        """
        return [_told(answer) for answer in await self._heard(self._way.run_all(calls))]

    async def close(self) -> None:
        await self._way.close()

    async def _heard(self, asked: Awaitable[T]) -> T:
        """Raises Unavailable."""
        try:
            return await asked
        except self._failures as failure:
            raise Unavailable("Redis is not available") from failure


def _of_our_own(instance: str) -> Neighbour:
    return Neighbour("redis", instance, lambda: REDIS.default, monotonic_ms, random.random)


def _told(answer: Any) -> Any:
    if not isinstance(answer, Exception) or isinstance(answer, Unavailable):
        return answer
    told = Unavailable("Redis refused a command")
    told.__cause__ = answer
    return told
