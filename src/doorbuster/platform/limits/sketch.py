"""Who is asked for most, in bounded memory: Space-Saving with exponential decay.

At most `values_max` values have a counter. A value without one takes over the smallest counter, and its count as a
possible error. With every count fading by half each half-life and `total` the faded number of all questions:

- estimate - error ≤ true count ≤ estimate,
- error ≤ total / values_max,
- so whoever was asked for more than total / values_max has a counter.

A. Metwally, D. Agrawal, A. El Abbadi, "Efficient computation of frequent and top-k elements in data streams" (2005).
The decay is G. Cormode's forward decay: later questions weigh more, instead of earlier ones less; so nothing needs
to be touched as time passes.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

DOUBLINGS_MAX = 64
"""Weights are brought down again when they have doubled so often."""


class Estimate(NamedTuple):
    """Faded to now. The true count is between `least` and `most`."""

    least: float
    most: float


class Sketch:
    def __init__(self, values_max: int, half_life_s: float, now_s: float) -> None:
        self.values_max, self.half_life_s = values_max, half_life_s
        self._since_s = now_s
        self._counters: dict[str, list[float]] = {}
        # Smallest first; an entry may be older, and so lower, than its counter.
        self._heap: list[tuple[float, str]] = []
        self._total = 0.0

    def __len__(self) -> int:
        return len(self._counters)

    def count(self, value: str, now_s: float) -> Estimate:
        """One question for `value`; what is then known of it."""
        weight = self._weight(now_s)
        self._total += weight
        counter = self._counters.get(value)
        if counter is None:
            counter = self._counter_for(value)
        counter[0] += weight
        most = counter[0] / weight
        return Estimate(most - counter[1] / weight, most)

    def estimate(self, value: str, now_s: float) -> Estimate:
        weight = self._weight(now_s)
        counter = self._counters.get(value)
        if counter is None:
            return Estimate(0.0, self._smallest() / weight)
        return Estimate((counter[0] - counter[1]) / weight, counter[0] / weight)

    def total(self, now_s: float) -> float:
        return self._total / self._weight(now_s)

    def top(self, now_s: float, how_many: int) -> list[tuple[str, Estimate]]:
        """Those asked for most, first ones first."""
        found = heapq.nlargest(how_many, self._counters, key=lambda value: self._counters[value][0])
        return [(value, self.estimate(value, now_s)) for value in found]

    def _counter_for(self, value: str) -> list[float]:
        smallest = 0.0
        if len(self._counters) >= self.values_max:
            smallest = self._smallest()
            del self._counters[heapq.heappop(self._heap)[1]]
        counter = self._counters[value] = [smallest, smallest]
        heapq.heappush(self._heap, (smallest, value))
        return counter

    def _smallest(self) -> float:
        """Of all counters, 0 while there is room for more; then the heap's first entry is its."""
        if len(self._counters) < self.values_max:
            return 0.0
        while True:
            known, value = self._heap[0]
            count = self._counters[value][0]
            if count == known:
                return count
            heapq.heapreplace(self._heap, (count, value))

    def _weight(self, now_s: float) -> float:
        doublings = (now_s - self._since_s) / self.half_life_s
        if doublings > DOUBLINGS_MAX:
            self._fade(2.0 ** -min(doublings, 1000.0))
            self._since_s, doublings = now_s, 0.0
        return 2.0**doublings

    def _fade(self, factor: float) -> None:
        self._total *= factor
        for counter in self._counters.values():
            counter[0] *= factor
            counter[1] *= factor
        self._heap = [(counter[0], value) for value, counter in self._counters.items()]
        heapq.heapify(self._heap)
