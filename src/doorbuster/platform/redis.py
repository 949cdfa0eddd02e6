"""The connection to Redis, for what chooses to use it. The client is imported only then."""

from __future__ import annotations

from typing import Any

from doorbuster.kernel.errors import Unavailable

TIMEOUT_S = 1.0
CONNECTIONS_MAX = 64
POOL_WAIT_S = 2.0


class Redis:
    """A pool of connections to one server; every failure of it is Unavailable."""

    def __init__(self, url: str) -> None:
        import redis.asyncio as client
        from redis.exceptions import RedisError

        pool: Any = client.BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=POOL_WAIT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            decode_responses=True,
        )
        self._client: Any = client.Redis.from_pool(pool)
        self._failures = (RedisError, OSError, TimeoutError)

    def script(self, source: str) -> Script:
        return Script(self, source)

    async def command(self, *words: object) -> Any:
        """Raises Unavailable."""
        try:
            return await self._client.execute_command(*words)
        except self._failures as failure:
            raise Unavailable("Redis is not available") from failure

    async def run(self, script: Any, keys: list[str], arguments: list[object]) -> Any:
        try:
            return await script(keys=keys, args=arguments)
        except self._failures as failure:
            raise Unavailable("Redis is not available") from failure

    def registered(self, source: str) -> Any:
        return self._client.register_script(source)

    async def close(self) -> None:
        await self._client.aclose()


class Script:
    """A Lua script, known to the server by its digest and sent again when it has forgotten it."""

    def __init__(self, redis: Redis, source: str) -> None:
        self._redis = redis
        self._script = redis.registered(source)

    async def __call__(self, keys: list[str], *arguments: object) -> Any:
        """Raises Unavailable."""
        return await self._redis.run(self._script, keys, list(arguments))
