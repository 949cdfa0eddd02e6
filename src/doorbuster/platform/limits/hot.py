"""Limits for values that turn out to be hot while running: the one product everybody wants, without naming it before.

A value is hot when it is certainly asked for at least `hot_per_s` times a second (averaged over some half-lives), and
until that falls below half of it. Only hot values are limited; the others cost a count in a bounded sketch.

- No value below the threshold is ever limited: the sketch's lower bound decides.
- A value above the threshold plus 1 / values_max of all traffic is always found (see sketch.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.platform.limits.port import Decision, Limiter, Policy
from doorbuster.platform.limits.sketch import Sketch

VALUE_MAX = 128
"""Longer values are cut for counting: they share a counter with those that begin alike."""


class HotSettings(Struct, frozen=True, forbid_unknown_fields=True):
    hot_per_s: Annotated[float, Meta(ge=0.1, le=1_000_000)] = 100.0
    half_life_s: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    """How fast the past fades. A value that is suddenly asked for r times a second counts as hot after
    -log2(1 - hot_per_s / r) half-lives."""
    values_max: Annotated[int, Meta(ge=10, le=100_000)] = 1000
    """Counters. A changed number, or half-life, begins a new sketch."""


class HotLimiter:
    """In front of `limiter`, which decides about hot values only."""

    def __init__(
        self,
        limiter: Limiter,
        settings: Callable[[], HotSettings],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limiter, self._settings, self._now_s = limiter, settings, now_s
        self._sketch = self._new_sketch(settings())
        self._hot: set[str] = set()

    @property
    def policy(self) -> Policy:
        return self._limiter.policy

    async def take(self, key: str, cost: int = 1) -> Decision:
        """What is not hot has all of the quota left."""
        if self.is_hot(key):
            return await self._limiter.take(key, cost)
        quota = self._limiter.policy.quota
        return Decision(True, quota, quota, 0.0, 0.0)

    def is_hot(self, value: str) -> bool:
        """Counts a question for `value`."""
        settings, value = self._settings(), value[:VALUE_MAX]
        sketch = self._sketch
        if (sketch.values_max, sketch.half_life_s) != (settings.values_max, settings.half_life_s):
            sketch = self._sketch = self._new_sketch(settings)
            self._hot.clear()
        # A steady rate r has a faded count of r · half-life / ln 2.
        per_s = sketch.count(value, self._now_s()).least * math.log(2) / settings.half_life_s
        if value in self._hot:
            if per_s >= settings.hot_per_s / 2:
                return True
            self._hot.discard(value)
            return False
        if per_s < settings.hot_per_s:
            return False
        self._remember(value)
        return True

    def hottest(self, how_many: int = 10) -> list[tuple[str, float]]:
        """Values and how often a second they are certainly asked for."""
        per_count = math.log(2) / self._sketch.half_life_s
        return [(value, found.least * per_count) for value, found in self._sketch.top(self._now_s(), how_many)]

    def _remember(self, value: str) -> None:
        if len(self._hot) >= 2 * self._sketch.values_max:  # those that nobody asks for any more were never let go
            now_s = self._now_s()
            self._hot = {each for each in self._hot if self._sketch.estimate(each, now_s).least}
        self._hot.add(value)

    def _new_sketch(self, settings: HotSettings) -> Sketch:
        return Sketch(settings.values_max, settings.half_life_s, self._now_s())
