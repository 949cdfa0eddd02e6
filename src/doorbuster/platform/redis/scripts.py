"""Lua scripts: known to a server by their digest, and sent again when it has forgotten them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct


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

    @property
    def command(self) -> tuple[object, ...]:
        return ("EVALSHA", self.source.digest, 1, self.key, *self.words)


class Runs(Protocol):
    async def run(self, source: Source, keys: Sequence[str], arguments: Sequence[object]) -> Any: ...


class Script:
    """A script to be called like a function. Its keys lie on one slot of a cluster."""

    def __init__(self, redis: Runs, text: str) -> None:
        self._redis, self._source = redis, Source.of(text)

    async def __call__(self, keys: list[str], *arguments: object) -> Any:
        """Raises Unavailable."""
        return await self._redis.run(self._source, keys, arguments)
