"""The local tier: a bounded map that keeps what is asked for often (W-TinyLFU, Einziger et al. 2017).

What is new enters a small window. Whoever leaves the window meets the one that the main part has used least lately, and
the sketch says which of the two was asked for more often: a crawler that reads everything once pushes nothing out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, NamedTuple, TypeVar

from doorbuster.platform.cache.sketch import FrequencySketch

T = TypeVar("T")
WINDOW_PERCENT = 1


class Entry(NamedTuple, Generic[T]):
    """A copy, or with None the knowledge that there is nothing. `version` of nothing is 0."""

    value: T | None
    version: int
    until_ms: int


class LocalTier(Generic[T]):
    """At most `capacity` entries."""

    def __init__(self, capacity: int) -> None:
        self._window: OrderedDict[Hashable, Entry[T]] = OrderedDict()
        self._main: OrderedDict[Hashable, Entry[T]] = OrderedDict()
        self.resize(capacity)

    def resize(self, capacity: int) -> None:
        """Forgets the frequencies, and what there is no room for any more."""
        self.capacity = capacity
        self._window_max = max(1, capacity * WINDOW_PERCENT // 100)
        self._sketch = FrequencySketch(capacity)
        while len(self) > capacity:
            (self._window or self._main).popitem(last=False)

    def __len__(self) -> int:
        return len(self._window) + len(self._main)

    def seen(self, key: Hashable) -> int:
        """Counts a question. Returns how often the key was asked for lately."""
        return self._sketch.add(key)

    def get(self, key: Hashable, now_ms: int) -> Entry[T] | None:
        part = self._main if key in self._main else self._window
        entry = part.get(key)
        if entry is None:
            return None
        if now_ms >= entry.until_ms:
            del part[key]
            return None
        part.move_to_end(key)
        return entry

    def put(self, key: Hashable, entry: Entry[T]) -> None:
        """Keeps it, or another one that is asked for more often."""
        if key in self._main:
            self._main[key] = entry
            self._main.move_to_end(key)
            return
        self._window[key] = entry
        self._window.move_to_end(key)
        if len(self._window) > self._window_max:
            self._admit(*self._window.popitem(last=False))

    def _admit(self, key: Hashable, entry: Entry[Any]) -> None:
        room = self.capacity - self._window_max
        if room <= 0:
            return
        if len(self._main) >= room:
            rival = next(iter(self._main))
            if self._sketch.count(key) <= self._sketch.count(rival):
                return
            del self._main[rival]
        self._main[key] = entry

    def drop(self, key: Hashable, below: int) -> None:
        """Forgets the key if what is known is older than version `below`."""
        for part in (self._main, self._window):
            entry = part.get(key)
            if entry is not None and entry.version < below:
                del part[key]

    def clear(self) -> None:
        self._window.clear()
        self._main.clear()
