"""A rolling window of counts: a ring of buckets, the oldest forgotten as time goes on."""

from __future__ import annotations

from typing import NamedTuple


class Counts(NamedTuple):
    calls: int = 0
    failed: int = 0
    slow: int = 0

    def plus(self, *, failed: bool, slow: bool) -> Counts:
        return Counts(self.calls + 1, self.failed + failed, self.slow + slow)


class Window:
    """What ended in the last `span_ms`, the bucket that is being filled included; so between `span_ms` and one bucket
    less. Its memory is its buckets, however many calls there are."""

    def __init__(self, span_ms: int, buckets: int) -> None:
        self.shape = (span_ms, buckets)
        self._step_ms = max(1, span_ms // buckets)
        self._ring = [Counts()] * buckets
        self._newest = 0
        self._total = Counts()

    def add(self, now_ms: int, *, failed: bool, slow: bool) -> Counts:
        """What is in the window now, with this."""
        self._roll(now_ms)
        at = self._newest % len(self._ring)
        self._ring[at] = self._ring[at].plus(failed=failed, slow=slow)
        self._total = self._total.plus(failed=failed, slow=slow)
        return self._total

    def total(self, now_ms: int) -> Counts:
        self._roll(now_ms)
        return self._total

    def _roll(self, now_ms: int) -> None:
        """Empties the buckets whose time is over, each at most once."""
        newest = now_ms // self._step_ms
        passed = newest - self._newest
        if passed <= 0:
            return
        for number in range(newest - min(passed, len(self._ring)) + 1, newest + 1):
            at = number % len(self._ring)
            old, self._ring[at] = self._ring[at], Counts()
            total = self._total
            self._total = Counts(total.calls - old.calls, total.failed - old.failed, total.slow - old.slow)
        self._newest = newest
