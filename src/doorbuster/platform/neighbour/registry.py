"""The neighbours of a process, each with its instances; bounded, because instances may be named by strangers (the hosts
of webhooks)."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.breaker import Force
from doorbuster.platform.breaker.breaker import MonotonicMs, monotonic_ms
from doorbuster.platform.neighbour.neighbour import Neighbour, NeighbourSnapshot
from doorbuster.platform.neighbour.settings import NeighbourSettings

NEIGHBOURS_MAX = 1_000
NAME_MAX = 255

Key = tuple[str, str]


class Neighbours:
    """Used from one event loop. `dice` gives numbers in [0, 1)."""

    def __init__(
        self,
        now_ms: MonotonicMs = monotonic_ms,
        dice: Callable[[], float] = random.random,
        at_most: int = NEIGHBOURS_MAX,
    ) -> None:
        self._now_ms = now_ms
        self._dice = dice
        self._at_most = at_most
        self._known: OrderedDict[Key, Neighbour] = OrderedDict()
        """The one that was longest unused comes first."""

    def get(
        self, name: str, instance: str = "", settings: Callable[[], NeighbourSettings] = NeighbourSettings
    ) -> Neighbour:
        """The same one for the same name and instance. `settings` are those of whoever asks first.

        At the bound the longest unused is forgotten that is neither busy nor forced. Raises Overloaded.
        """
        key = (name[:NAME_MAX], instance[:NAME_MAX])
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= self._at_most:
                self._forget_one()
            known = Neighbour(*key, settings, self._now_ms, self._dice)
            self._known[key] = known
        self._known.move_to_end(key)
        return known

    def snapshots(self) -> Sequence[NeighbourSnapshot]:
        """By name and instance."""
        return [self._known[key].snapshot() for key in sorted(self._known)]

    def force(self, name: str, instance: str, force: Force) -> NeighbourSnapshot | None:
        """None: nobody of this name was called yet."""
        known = self._known.get((name, instance))
        if known is None:
            return None
        known.breaker.force(force)
        return known.snapshot()

    def _forget_one(self) -> None:
        """Rather one whose breaker knows nothing bad; else an open one: its next call finds out anew."""
        idle = [key for key, each in self._known.items() if not each.busy() and not each.breaker.is_forced]
        if not idle:
            raise Overloaded("too many parts outside of the shop are being called")
        closed = (key for key in idle if self._known[key].breaker.snapshot().state == "closed")
        del self._known[next(closed, idle[0])]
