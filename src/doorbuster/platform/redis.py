"""The connection to Redis, for what chooses to use it. The client is imported only then.

It is called as a neighbour: a server that hangs or is gone is soon left alone, and those who use it go on without it.
Nothing is repeated here (the client's own three retries are off): whoever asks knows what may be.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import Judge, Neighbour, NeighbourSettings, TooSlow
from doorbuster.platform.settings.declared import declare

TIMEOUT_S = 1.0
CONNECTIONS_MAX = 64
POOL_WAIT_S = 2.0

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
        from redis.exceptions import RedisError, ResponseError

        pool: Any = client.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=POOL_WAIT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._client: Any = client.Redis.from_pool(pool)
        self._failures = (RedisError, OSError, TimeoutError)
        own = neighbour or Neighbour("redis", "", lambda: REDIS.default, monotonic_ms, random.random)
        self._neighbour = own
        # A command that the server refuses has been answered.
        self._judge = Judge(fails=lambda error: not isinstance(error, ResponseError))

    def script(self, source: str) -> Script:
        return Script(self, source)

    async def command(self, *words: object) -> Any:
        """Raises Unavailable."""
        return await self._asked(lambda: self._client.execute_command(*words))

    async def run(self, script: Any, keys: list[str], arguments: list[object]) -> Any:
        """Raises Unavailable."""
        return await self._asked(lambda: script(keys=keys, args=arguments))

    def registered(self, source: str) -> Any:
        return self._client.register_script(source)

    async def close(self) -> None:
        await self._client.aclose()

    async def _asked(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            return await self._neighbour.call(work, judge=self._judge)
        except (*self._failures, TooSlow, Overloaded) as failure:
            raise Unavailable("Redis is not available") from failure


class Script:
    """A Lua script, known to the server by its digest and sent again when it has forgotten it."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._script = redis.registered(source)

    async def __call__(self, keys: list[str], *arguments: object) -> Any:
        """Raises Unavailable."""
        return await self._redis.run(self._script, keys, list(arguments))
