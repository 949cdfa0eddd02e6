"""The connection to Redis, for what chooses to use it. The client is imported only then."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from doorbuster.kernel.errors import Unavailable

TIMEOUT_S = 1.0
CONNECTIONS_MAX = 64
POOL_WAIT_S = 2.0


class Redis:
    """A pool of connections to one server; every failure of it is Unavailable."""

    def __init__(self, url: str) -> None:
        import redis.asyncio as client
        from redis.exceptions import NoScriptError, RedisError

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
        self._forgotten = NoScriptError

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

    async def run_all(self, calls: Sequence[Call]) -> list[Any]:
        """The scripts' answers, in one round trip; Unavailable for a call that failed alone. Raises Unavailable."""
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
        return await pipeline.execute(raise_on_error=False)

    def registered(self, source: str) -> Any:
        return self._client.register_script(source)

    async def close(self) -> None:
        await self._client.aclose()


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
