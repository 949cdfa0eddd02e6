"""What a cache offers, whatever tiers it has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from msgspec import Struct

T = TypeVar("T")
New = TypeVar("New", contravariant=True)


class CacheStats(Struct):
    """Counted since the process began. Each read is one of: local_hits, redis_hits, joined, loads, bypassed."""

    local_hits: int = 0
    redis_hits: int = 0
    joined: int = 0
    """Shared the answer of a read that was under way."""
    loads: int = 0
    """Asked the source, for itself and whoever joined."""
    bypassed: int = 0
    """Asked the source because the cache is off, or had not heard of changes for too long."""
    refused: int = 0
    """Loaded values that were not kept: they had changed meanwhile, or the lease was gone."""
    redis_failures: int = 0


class Flushed(Struct, frozen=True):
    """How many copies there were. `redis`: None where there is no such tier, or it could not be reached."""

    local: int
    redis: int | None
    complete: bool
    """False: Redis was away, or holds more than is taken in one go. Ask again."""


class Change(Protocol[New]):
    """Under way, by this process."""

    def done(self, value: New) -> None:
        """It is committed, and this is what there is now."""
        ...


class Cache(Protocol[T]):
    """Versioned values by key. None is a value too: there is no such thing, for a short while."""

    stats: CacheStats

    async def get(self, key: str) -> T | None:
        """The copy, if a tier has one that may be trusted. Asks nobody else, and keeps nothing."""
        ...

    async def get_or_load(self, key: str, load: Callable[[], Awaitable[T | None]]) -> T | None:
        """The copy, or what `load` says; of those who ask at once one asks. Raises what `load` raises."""
        ...

    async def preload(self, key: str, load: Callable[[], Awaitable[T | None]]) -> None:
        """Has it in the local tier before the crowd comes. Raises what `load` raises."""
        ...

    def changing(self, key: str) -> AbstractContextManager[Change[T]]:
        """Around a write of this process. With `done`, whoever reads here afterwards reads the new value."""
        ...

    def forget(self, changes: Mapping[str, int]) -> None:
        """Takes back what is older than these versions, at once in this process; `settle` carries it on."""
        ...

    async def settle(self) -> bool:
        """Whether every tier has heard of everything that was forgotten. Never raises because Redis is away."""
        ...

    def clear(self) -> int:
        """Forgets all of the local tier; how many copies that were."""
        ...

    async def flush(self) -> Flushed:
        """Empties every tier. Never raises because Redis is away."""
        ...

    def entries(self) -> int:
        """Copies in the local tier."""
        ...
