"""The connection to Redis, for what chooses to use it. The client is imported only then.

It is called as a neighbour: a server that hangs or is gone is soon left alone, and those who use it go on without it.
Nothing is repeated here (the client's own three retries are off): whoever asks knows what may be.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from msgspec import Struct

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import Judge, Neighbour, NeighbourSettings, TooSlow
from doorbuster.platform.settings.declared import declare

T = TypeVar("T")

TIMEOUT_S = 1.0
"""For a command: its way there, its answer, and a connection if there is none."""
CONNECTIONS_MAX = 64

REDIS = declare(
    "resilience.redis",
    NeighbourSettings,
    NeighbourSettings(
        breaker=BreakerSettings(calls_min=5, slow_ms=500, slow_percent=80, open_ms=1_000, probes=1),
        bulkhead=BulkheadSettings(at_once=CONNECTIONS_MAX, waiting_max=8_192, wait_ms=2_000),
        limit_ms=3_000,
    ),
)
"""Asked for each hold, so it is left alone sooner and tried again sooner than others."""


class Redis:
    """A pool of connections to one server; every failure of it is Unavailable."""

    def __init__(self, url: str, neighbour: Neighbour | None = None) -> None:
        """Without a `neighbour` of the platform's it has one of its own, on the declared terms."""
        import redis.asyncio as client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import NoScriptError, RedisError, ResponseError

        pool: Any = client.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=TIMEOUT_S,
            socket_timeout=None,  # `_in_time`: the client's own would swallow cancellations
            socket_connect_timeout=TIMEOUT_S,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._client: Any = client.Redis.from_pool(pool)
        self._failures = (RedisError, OSError, TimeoutError)
        self._forgotten = NoScriptError
        own = neighbour or Neighbour("redis", "", lambda: REDIS.default, monotonic_ms, random.random)
        self._neighbour = own
        # A command that the server refuses has been answered.
        self._judge = Judge(fails=lambda error: not isinstance(error, ResponseError))

    def script(self, source: str) -> Script:
        return Script(self, source)

    async def command(self, *words: object) -> Any:
        """Raises Unavailable."""
        return await self._asked(lambda: _in_time(self._client.execute_command(*words)))

    async def run(self, script: Any, keys: list[str], arguments: list[object]) -> Any:
        """Raises Unavailable."""
        return await self._asked(lambda: _in_time(script(keys=keys, args=arguments)))

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """The scripts' answers, in one round trip; Unavailable for a call that failed alone. Raises Unavailable.

        Not as a neighbour: limits leave Redis alone by terms of their own, which are stricter (HastyRedis).
        """
        try:
            answers = await self._piped([("EVALSHA", each.source.digest, 1, each.key, *each.words) for each in calls])
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, self._forgotten)]
            if unknown:
                await self._piped([("SCRIPT", "LOAD", text) for text in {calls[at].source.text for at in unknown}])
                again = [calls[at] for at in unknown]
                words = [("EVALSHA", each.source.digest, 1, each.key, *each.words) for each in again]
                for at, answer in zip(unknown, await self._piped(words), strict=True):
                    answers[at] = answer
        except self._failures as failure:
            raise Unavailable("Redis is not available") from failure
        return [_told(answer) for answer in answers]

    async def _piped(self, commands: Sequence[tuple[object, ...]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            pipeline.execute_command(*words)
        return await _in_time(pipeline.execute(raise_on_error=False))

    def registered(self, source: str) -> Any:
        return self._client.register_script(source)

    async def close(self) -> None:
        await self._client.aclose()

    async def _asked(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._neighbour.call(work, judge=self._judge)
        except (*self._failures, TooSlow, Overloaded) as failure:
            raise Unavailable("Redis is not available") from failure


async def _in_time(asked: Awaitable[T]) -> T:
    """The answer. Raises TimeoutError.

    The client's own limit writes through `asyncio.wait_for`, which on Python 3.11 may return in place of raising a
    cancellation (cpython gh-86296): loops that asked Redis went on after they were cancelled. It costs a task per
    command, too.
    """
    async with asyncio.timeout(TIMEOUT_S):
        return await asked


class Source(Struct, frozen=True):
    """The text of a Lua script, and the digest by which a server knows it."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> Source:
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Call(Struct, frozen=True):
    """A script on one key, so that it may run on whatever node of a cluster has it."""

    source: Source
    key: str
    words: tuple[object, ...]


class Script:
    """A Lua script, known to the server by its digest and sent again when it has forgotten it."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._script = redis.registered(source)

    async def __call__(self, keys: list[str], *arguments: object) -> Any:
        """Raises Unavailable."""
        return await self._redis.run(self._script, keys, list(arguments))


def _told(answer: Any) -> Any:
    if not isinstance(answer, Exception):
        return answer
    told = Unavailable("Redis refused a command")
    told.__cause__ = answer
    return told
