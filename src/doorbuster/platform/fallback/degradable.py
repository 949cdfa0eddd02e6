"""A read with declared fallbacks: the real answer, else the last one (not too old), a reduced one, or a default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Literal, TypeVar

import structlog
from msgspec import Struct

from doorbuster.kernel.errors import Busy
from doorbuster.platform.fallback.features import FeatureOff

T = TypeVar("T")
How = Literal["full", "cached", "reduced", "default"]

log = structlog.get_logger("fallback")


class Answer(Struct, Generic[T], frozen=True):
    value: T
    how: How


class Degradable(Generic[T]):
    """`read` is asked while `enabled()`; if it is not, or the read raises Busy, the fallbacks are tried in the order
    cached, reduced, default. Those that are not declared are left out; with none the error is raised.

    One value is kept, so its memory is bounded by the value's. `now_ms` never goes back.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Awaitable[T]],
        now_ms: Callable[[], int],
        *,
        enabled: Callable[[], bool] = lambda: True,
        cached_for_ms: int = 0,
        reduced: Callable[[], Awaitable[T]] | None = None,
        default: Callable[[], T] | None = None,
    ) -> None:
        self.name = name
        self._read = read
        self._now_ms = now_ms
        self._enabled = enabled
        self._cached_for_ms = cached_for_ms
        self._reduced = reduced
        self._default = default
        self._last: tuple[T, int] | None = None
        self._degraded = False

    async def get(self) -> Answer[T]:
        """Raises what the read raises (FeatureOff if it is switched off) when there is nothing to fall back on."""
        try:
            if not self._enabled():
                raise FeatureOff
            value = await self._read()
        except Busy as away:
            return await self._fall_back(away)
        self._note(None)
        if self._cached_for_ms:
            self._last = value, self._now_ms()
        return Answer(value, "full")

    async def _fall_back(self, away: Busy) -> Answer[T]:
        self._note(away)
        if self._last is not None and self._now_ms() - self._last[1] <= self._cached_for_ms:
            return Answer(self._last[0], "cached")
        if self._reduced is not None:
            try:
                return Answer(await self._reduced(), "reduced")
            except Busy as also_away:
                if self._default is None:
                    raise away from also_away
        if self._default is not None:
            return Answer(self._default(), "default")
        raise away

    def _note(self, away: Busy | None) -> None:
        """Logs when it begins and when it ends, not each time."""
        if self._degraded != (away is not None):
            self._degraded = away is not None
            log.warning("degraded" if self._degraded else "whole again", part=self.name, error=repr(away))
