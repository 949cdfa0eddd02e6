"""One server, alone or of a cluster: a pool of connections to it, and what is known of it as a neighbour.

Nothing is repeated here (the client's own three retries are off): whoever asks knows what may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from doorbuster.platform.neighbour import Judge, Neighbour
from doorbuster.platform.redis.scripts import Call, Source
from doorbuster.platform.redis.settings import CONNECTIONS_MAX, TIMEOUT_S
from doorbuster.platform.redis.way import Words

T = TypeVar("T")

FAILURES = (RedisError, OSError, TimeoutError)
# A command that the server refuses has been answered.
_JUDGE = Judge(fails=lambda error: not isinstance(error, ResponseError))


class Server:
    """`asking`: the server is getting the slot from another, which has sent us here (ASK)."""

    def __init__(self, url: str, neighbour: Neighbour) -> None:
        pool: Any = BlockingConnectionPool.from_url(  # pyright: ignore[reportUnknownMemberType]
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=TIMEOUT_S,
            socket_timeout=None,  # `in_time`: the client's own would swallow cancellations
            socket_connect_timeout=TIMEOUT_S,
            decode_responses=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._client: Any = Client.from_pool(pool)
        self._neighbour = neighbour
        self._under_way = 0

    @property
    def busy(self) -> bool:
        return self._under_way > 0

    def place_of(self, key: str) -> str:
        del key
        return ""

    async def places(self) -> Sequence[str]:
        return [""]

    async def ask(self, words: Words, at: str | None = None, *, asking: bool = False) -> Any:
        del at
        return await self._called(lambda: self._one(words, asking))

    async def run(self, source: Source, keys: Sequence[str], words: Words, *, asking: bool = False) -> Any:
        return await self._called(lambda: self._run(source, keys, words, asking))

    async def run_all(self, calls: Sequence[Call], *, asking: bool = False) -> list[Any]:
        """In one round trip; a second one if the server has forgotten scripts.

        Not as a neighbour: limits leave Redis alone by terms of their own, which are stricter (HastyRedis).
        """
        self._under_way += 1
        try:
            answers = await in_time(self._piped([each.command for each in calls], asking))
            unknown = [at for at, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                texts = {calls[at].source.text for at in unknown}
                await in_time(self._piped([("SCRIPT", "LOAD", text) for text in texts]))
                again = await in_time(self._piped([calls[at].command for at in unknown], asking))
                for at, answer in zip(unknown, again, strict=True):
                    answers[at] = answer
            return answers
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        await self._client.aclose()

    async def _called(self, work: Callable[[], Awaitable[T]]) -> T:
        self._under_way += 1
        try:
            return await self._neighbour.call(lambda: in_time(work()), judge=_JUDGE)
        finally:
            self._under_way -= 1

    async def _run(self, source: Source, keys: Sequence[str], words: Words, asking: bool) -> Any:
        try:
            return await self._one(("EVALSHA", source.digest, len(keys), *keys, *words), asking)
        except NoScriptError:
            return await self._one(("EVAL", source.text, len(keys), *keys, *words), asking)

    async def _one(self, words: Words, asking: bool) -> Any:
        if not asking:
            return await self._client.execute_command(*words)
        (answer,) = await self._piped([words], asking)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _piped(self, commands: Sequence[Words], asking: bool = False) -> list[Any]:
        """On one connection, as ASKING demands, which is about the next command there and no other."""
        pipeline = self._client.pipeline(transaction=False)
        for words in commands:
            if asking:
                pipeline.execute_command("ASKING")
            pipeline.execute_command(*words)
        answers = await pipeline.execute(raise_on_error=False)
        return answers[1::2] if asking else answers


async def in_time(asked: Awaitable[T]) -> T:
    """The answer. Raises TimeoutError.

    The client's own limit writes through `asyncio.wait_for`, which on Python 3.11 may return in place of raising a
    cancellation (cpython gh-86296): loops that asked Redis went on after they were cancelled. It costs a task per
    command, too.
    """
    async with asyncio.timeout(TIMEOUT_S):
        return await asked
