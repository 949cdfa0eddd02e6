"""How many requests may be under way at once, found out while they are.

A limit by gradient, after TCP Vegas (Brakmo and Peterson, 1995): while round trips stay near the shortest of their
kind there is no queue, and the limit grows; when they grow there is one, and the limit shrinks in proportion. Pure: the
time is an argument.
"""

from __future__ import annotations

from math import inf, sqrt

from doorbuster.platform.shedding.minimum import AgeingMinimum
from doorbuster.platform.shedding.settings import SheddingSettings

KINDS_MAX = 128
"""Of requests, whose round trips are compared with one another. The rest count as one kind: paths are made by
strangers."""
SAMPLES_MAX = 1_024
"""Of one window. The median of more would not be another one."""
SHRINK_MOST = 0.5
"""What a window leaves of the limit at the least."""
LAGGING = 0.7
"""What is left of the limit after a window in which the event loop came too late."""
PRESSED = 0.5
"""The share of the limit that must have been in use for round trips to say something about it."""
SMOOTHED = 1 / 16
OTHERS = "others"


class Kind:
    """Requests that cost about the same. Times in seconds; `typical_s` is smoothed."""

    __slots__ = ("shortest", "typical_s")

    def __init__(self) -> None:
        self.shortest = AgeingMinimum()
        self.typical_s = 0.0


class ConcurrencyLimit:
    """Feed it with `note` (a round trip that succeeded), `lagged`, and `turn` once a window."""

    def __init__(self, settings: SheddingSettings, now_s: float) -> None:
        self._limit = float(settings.limit_initial)
        self._kinds: dict[str, Kind] = {}
        self._stretches: list[float] = []
        self._stretches_failed: list[float] = []
        self._lag_s = 0.0
        self._in_use_most = 0
        self._measure_again_s = now_s + settings.minimum_kept_ms / 1000
        self.stretch = 1.0
        """The median of the last full window: round trips to what they may take. Above 1 there is a queue."""
        self.lag_s = 0.0
        """The worst of the last window."""

    @property
    def limit(self) -> int:
        return int(self._limit)

    def kind(self, name: str) -> Kind:
        known = self._kinds.get(name)
        if known is None:
            name = name if len(self._kinds) < KINDS_MAX else OTHERS
            known = self._kinds.setdefault(name, Kind())
        return known

    def shortest_s(self) -> dict[str, float]:
        """By kind, of those that are known."""
        return {name: kind.shortest.value for name, kind in self._kinds.items() if kind.shortest.value < inf}

    def in_use(self, under_way: int) -> None:
        if under_way > self._in_use_most:
            self._in_use_most = under_way

    def note(self, kind: Kind, took_s: float, now_s: float, settings: SheddingSettings) -> None:
        shortest_s = kind.shortest.note(took_s, now_s, settings.minimum_kept_ms / 1000)
        kind.typical_s += (took_s - kind.typical_s) * (SMOOTHED if kind.typical_s else 1.0)
        if len(self._stretches) < SAMPLES_MAX:
            self._stretches.append(took_s / max(shortest_s * settings.tolerance, settings.fast_enough_ms / 1000))

    def note_failed(self, took_s: float, settings: SheddingSettings) -> None:
        """What was answered with an error: sold out, for one. It is quicker than the work, so it shows less of a queue
        than there is; it is asked only where next to nothing succeeds, as after the first second of a sale."""
        if len(self._stretches_failed) < SAMPLES_MAX:
            self._stretches_failed.append(took_s / (settings.fast_enough_ms / 1000))

    def lagged(self, lag_s: float) -> None:
        """The event loop came so late."""
        self._lag_s = max(self._lag_s, lag_s)

    def turn(self, now_s: float, settings: SheddingSettings) -> None:
        """Works the limit out anew, from what was seen since the last time."""
        enough = len(self._stretches) >= settings.samples_min
        stretches = self._stretches if enough else self._stretches_failed
        pressed = self._in_use_most >= self._limit * PRESSED
        if self._lag_s * 1000 > settings.lag_max_ms:
            limit = self._limit * LAGGING
        elif pressed and len(stretches) >= settings.samples_min:
            limit = self._by_gradient(stretches, now_s, settings)
        else:
            limit = self._relaxed(pressed, settings)
        self._limit = min(max(limit, float(settings.limit_min)), float(settings.limit_max))
        self.lag_s, self._lag_s = self._lag_s, 0.0
        self._stretches.clear()
        self._stretches_failed.clear()
        self._in_use_most = 0

    def _by_gradient(self, stretches: list[float], now_s: float, settings: SheddingSettings) -> float:
        self.stretch = sorted(stretches)[len(stretches) // 2]
        if now_s >= self._measure_again_s:
            # Under lasting pressure the shortest round trip has a queue in it: half the queue shows a shorter one.
            self._measure_again_s = now_s + settings.minimum_kept_ms / 1000
            return self._limit * SHRINK_MOST
        if self.stretch > 1.0:
            return self._limit * max(SHRINK_MOST, 1 / self.stretch)
        return self._limit + sqrt(self._limit)

    def _relaxed(self, pressed: bool, settings: SheddingSettings) -> float:
        """Nobody needs the limit, so nothing is learned about it: back towards where it began."""
        if pressed:  # too few were answered to judge: stay
            return self._limit
        step = sqrt(self._limit)
        if self._limit < settings.limit_initial:
            return min(self._limit + step, settings.limit_initial)
        return max(self._limit - step, settings.limit_initial)
