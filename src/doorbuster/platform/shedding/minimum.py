"""The shortest value of late: a minimum that forgets."""

from __future__ import annotations

from math import inf

BUCKETS = 6


class AgeingMinimum:
    """Of what was noted within the last `kept_s` (give or take a sixth). Times must not run backwards."""

    __slots__ = ("_at", "_least", "_least_of")

    def __init__(self) -> None:
        self._least_of = [inf] * BUCKETS
        self._at = -1
        self._least = inf

    @property
    def value(self) -> float:
        """Infinite while nothing is known."""
        return self._least

    def note(self, value: float, now_s: float, kept_s: float) -> float:
        """The minimum with this value."""
        at = int(now_s * BUCKETS / kept_s)
        if at != self._at:
            self._turn(at)
        if value < self._least_of[at % BUCKETS]:
            self._least_of[at % BUCKETS] = value
            self._least = min(self._least, value)
        return self._least

    def _turn(self, at: int) -> None:
        """Empties the buckets whose time has come round again."""
        gone = BUCKETS if self._at < 0 or at < self._at else min(at - self._at, BUCKETS)
        for each in range(at - gone + 1, at + 1):
            self._least_of[each % BUCKETS] = inf
        self._at = at
        self._least = min(self._least_of)
