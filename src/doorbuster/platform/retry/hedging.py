"""Hedged reads: who has not answered after most others would have, is asked a second time; the first answer counts.

Dean and Barroso, "The Tail at Scale" (CACM 2013): hedging after the 95th percentile costs some five per cent of
requests. Only for reads; each hedge is paid for out of the retry budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from doorbuster.platform.retry.attempts import is_retry, trying
from doorbuster.platform.retry.budget import RetryBudget

T = TypeVar("T")

SAMPLES_MAX = 256
SORTED_EVERY = 16
"""The percentile is computed anew after so many answers."""


class HedgeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = False
    percentile: Annotated[int, Meta(ge=50, le=99)] = 95
    samples_min: Annotated[int, Meta(ge=1, le=SAMPLES_MAX)] = 20
    """Before so many answers have been timed, nothing is hedged."""
    after_ms_min: Annotated[int, Meta(ge=0, le=60_000)] = 5
    after_ms_max: Annotated[int, Meta(ge=1, le=60_000)] = 2_000


class Hedging:
    """`now_ms` never goes back."""

    def __init__(self, settings: Callable[[], HedgeSettings], budget: RetryBudget, now_ms: Callable[[], int]) -> None:
        self._settings = settings
        self._budget = budget
        self._now_ms = now_ms
        self._samples: deque[int] = deque(maxlen=SAMPLES_MAX)
        self._since_sorted = 0
        self._after_ms = 0
        self._percentile = 0
        self.hedges = 0

    def after_ms(self) -> int | None:
        """When a read is hedged; None: not at all."""
        settings = self._settings()
        if not settings.enabled or is_retry() or len(self._samples) < settings.samples_min:
            return None
        if self._since_sorted >= SORTED_EVERY or self._percentile != settings.percentile:
            ordered = sorted(self._samples)
            self._after_ms = ordered[min(len(ordered) - 1, len(ordered) * settings.percentile // 100)]
            self._since_sorted, self._percentile = 0, settings.percentile
        return min(max(self._after_ms, settings.after_ms_min), settings.after_ms_max)

    async def run(self, read: Callable[[], Awaitable[T]]) -> T:
        """The first answer. Raises what the read raises: of two that fail, the later one."""
        after_ms = self.after_ms()
        if after_ms is None:
            return await self._timed(read)
        legs = [asyncio.ensure_future(self._timed(read))]
        try:
            await asyncio.wait(legs, timeout=after_ms / 1000)
            if not legs[0].done() and self._budget.take():
                self.hedges += 1
                with trying(2):
                    legs.append(asyncio.ensure_future(self._timed(read)))
            return await _first_good(legs)
        finally:
            await _cancel(legs)

    async def _timed(self, read: Callable[[], Awaitable[T]]) -> T:
        """Only answers are timed: how long a failure takes says nothing about answers."""
        began_ms = self._now_ms()
        answer = await read()
        self._samples.append(self._now_ms() - began_ms)
        self._since_sorted += 1
        return answer


async def _first_good(legs: Sequence[asyncio.Future[T]]) -> T:
    waiting = set(legs)
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        good = next((leg for leg in done if not leg.cancelled() and leg.exception() is None), None)
        if good is not None:
            return good.result()
        if not waiting:
            return done.pop().result()


async def _cancel(legs: Sequence[asyncio.Future[T]]) -> None:
    """Nobody is left behind, and no loser's failure goes unread."""
    for leg in legs:
        leg.cancel()
    await asyncio.gather(*legs, return_exceptions=True)
