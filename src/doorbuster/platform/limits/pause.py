"""Leaves alone what has failed: for a while nobody asks it, then one does, and that answer decides for all."""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_S, LONGEST_S = 0.5, 4.0


class Pause:
    """Works until `failed`. Then it rests, twice as long each time, and lets one asker through after each rest."""

    def __init__(
        self, now_s: Callable[[], float] = time.monotonic, first_s: float = FIRST_S, longest_s: float = LONGEST_S
    ) -> None:
        self._now_s, self._first_s, self._longest_s = now_s, first_s, longest_s
        self._until_s: float | None = None
        self._rest_s = first_s
        self._probing = False

    @property
    def away(self) -> bool:
        return self._until_s is not None

    def resting(self) -> bool:
        return self._until_s is not None and self._now_s() < self._until_s

    def may_ask(self) -> bool:
        """Who is let through while it is away has to report: `worked`, `failed` or `left`."""
        if self._until_s is None:
            return True
        if self._probing or self._now_s() < self._until_s:
            return False
        self._probing = True
        return True

    def worked(self) -> bool:
        """Whether this ends an absence."""
        ended = self.away
        self._until_s, self._rest_s, self._probing = None, self._first_s, False
        return ended

    def failed(self) -> bool:
        """Whether this begins an absence. Several who were under way together count as one."""
        began = not self.away
        if not self.resting():
            self._until_s = self._now_s() + self._rest_s
            self._rest_s = min(2 * self._rest_s, self._longest_s)
        self._probing = False
        return began

    def left(self) -> None:
        """The asker who was let through went away without an answer: the next one may ask."""
        self._probing = False
