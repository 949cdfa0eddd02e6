"""Who is let in: as many as the limit allows, the less urgent ones only while a part of it is free."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct

from doorbuster.kernel.priority import Priority
from doorbuster.platform.shedding.limit import ConcurrencyLimit, Kind
from doorbuster.platform.shedding.settings import SheddingSettings


class Place:
    """Of one request that was let in. It counts while `inside`; it is timed while `timed`."""

    __slots__ = ("_shedder", "begun_s", "inside", "kind", "priority", "timed")

    def __init__(self, shedder: Shedder, priority: Priority, kind: Kind, begun_s: float) -> None:
        self._shedder = shedder
        self.priority = priority
        self.kind = kind
        self.begun_s = begun_s
        self.inside = True
        self.timed = True

    def step_out(self) -> None:
        """What it waits for is no work of ours: a client that is slow, or a stream without an end."""
        self._shedder.step_out(self)

    def step_in(self) -> None:
        """The work goes on."""
        self._shedder.step_in(self)


class ClassCounts(Struct, frozen=True):
    under_way: int
    admitted: int
    refused: int
    too_late: int
    """Of those refused: there was room, but not time enough before their deadline."""


class ShedderSnapshot(Struct, frozen=True):
    enabled: bool
    limit: int
    under_way: int
    stretch: float
    lag_ms: float
    shortest_ms: dict[str, float]
    classes: dict[str, ClassCounts]


class Shedder:
    """Used from one event loop. `settings` are read at each request; `now_s` is monotonic."""

    def __init__(self, settings: Callable[[], SheddingSettings], now_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._now_s = now_s
        value = settings()
        self._seen: SheddingSettings | None = None
        self._limit = ConcurrencyLimit(value, now_s())
        self._window_ends_s = now_s() + value.window_ms / 1000
        self._under_way = 0
        self._room = [0] * len(Priority)
        self._inside = [0] * len(Priority)
        self._admitted = [0] * len(Priority)
        self._refused = [0] * len(Priority)
        self._too_late = [0] * len(Priority)
        self._make_room(value)

    @property
    def under_way(self) -> int:
        return self._under_way

    @property
    def limit(self) -> int:
        return self._limit.limit

    @property
    def is_full(self) -> bool:
        """Somebody would find no room."""
        return self._under_way >= self._room[-1] and self._settings().enabled

    @property
    def retry_after_s(self) -> int:
        return self._settings().retry_after_s

    def admit(self, priority: Priority, kind: str, left_s: float | None = None) -> Place | None:
        """A place, to be given back with `leave`; None if there is no room, or the time that is left is too short."""
        now_s = self._now_s()
        self._turn_if_due(now_s)
        known = self._limit.kind(kind)
        if not self._has_room(priority, known, left_s, 0):
            self._refused[priority] += 1
            return None
        self._admitted[priority] += 1
        place = Place(self, priority, known, now_s)
        self._count(place)
        return place

    def turns_away(self, priority: Priority) -> bool:
        """Whether there is no room; counted as refused then. Asked where a place would be more than is needed."""
        self._turn_if_due(self._now_s())
        if self._has_room(priority, None, None, 0):
            return False
        self._refused[priority] += 1
        return True

    def would_admit(self, priority: Priority) -> bool:
        """Whether one who is inside already would be let in with this priority. Counted as refused if not."""
        if self._has_room(priority, None, None, 1):
            return True
        self._refused[priority] += 1
        return False

    def step_out(self, place: Place) -> None:
        """It does not count any more, and its round trip says nothing."""
        place.timed = False
        if place.inside:
            place.inside = False
            self._under_way -= 1
            self._inside[place.priority] -= 1

    def step_in(self, place: Place) -> None:
        """Work on it goes on. Nobody is refused halfway."""
        if not place.inside:
            place.inside = True
            self._count(place)

    def leave(self, place: Place, succeeded: bool) -> None:
        """Only who succeeded may have had the shortest round trip: a refusal is quick."""
        if place.timed:
            now_s, settings = self._now_s(), self._settings()
            if succeeded:
                self._limit.note(place.kind, now_s - place.begun_s, now_s, settings)
            else:
                self._limit.note_failed(now_s - place.begun_s, settings)
        self.step_out(place)

    def tick(self, lag_s: float) -> None:
        """The event loop came so late. Ends the window in time also when nobody comes."""
        self._limit.lagged(lag_s)
        now_s = self._now_s()
        if now_s >= self._window_ends_s:
            self._turn(now_s, self._settings())

    def snapshot(self) -> ShedderSnapshot:
        return ShedderSnapshot(
            self._settings().enabled,
            self.limit,
            self._under_way,
            self._limit.stretch,
            self._limit.lag_s * 1000,
            {name: shortest_s * 1000 for name, shortest_s in sorted(self._limit.shortest_s().items())},
            {
                each.name.lower(): ClassCounts(
                    self._inside[each], self._admitted[each], self._refused[each], self._too_late[each]
                )
                for each in Priority
            },
        )

    def _count(self, place: Place) -> None:
        self._under_way += 1
        self._inside[place.priority] += 1
        self._limit.in_use(self._under_way)

    def _has_room(self, priority: Priority, kind: Kind | None, left_s: float | None, own: int) -> bool:
        if self._settings().enabled is False:
            return True
        if self._under_way - own >= self._room[priority]:
            self._limit.in_use(self._under_way + 1)  # who is refused presses too
            return False
        if left_s is not None and kind is not None and left_s < kind.typical_s:
            self._too_late[priority] += 1
            return False
        return True

    def _turn_if_due(self, now_s: float) -> None:
        settings = self._settings()
        if now_s >= self._window_ends_s or settings is not self._seen:
            self._turn(now_s, settings)

    def _turn(self, now_s: float, settings: SheddingSettings) -> None:
        if now_s >= self._window_ends_s:
            self._limit.turn(now_s, settings)
            self._window_ends_s = now_s + settings.window_ms / 1000
        self._make_room(settings)

    def _make_room(self, settings: SheddingSettings) -> None:
        """At least one place for everybody: an idle server refuses nobody."""
        self._seen = settings
        limit = min(max(self._limit.limit, settings.limit_min), settings.limit_max)
        self._room = [max(1, limit * settings.percent_of(each) // 100) for each in Priority]
