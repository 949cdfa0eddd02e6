"""The live view of the act: what is offered and what comes of it, the waiting room, the breaker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rich.console import Console

from doorbuster.lab.demo.door.buying import Buying
from doorbuster.lab.demo.door.following import Room
from doorbuster.lab.demo.door.load import Load
from doorbuster.lab.demo.view import LiveTable

LOOK_EVERY_S = 0.25
COLUMNS = (
    "offered/s",
    "sent/s",
    "goodput/s",
    "shed/s",
    "limited/s",
    "no admission/s",
    "waiting",
    "let in",
    "claimed",
    "paid",
    "breaker",
    "p99 ms",
)
NO_ADMISSION = ("admission-required", "admission-invalid", "sale-not-open")


class DoorView(LiveTable):
    """Rates are of the time since the last line. `state`: the breaker's."""

    def __init__(self, console: Console, load: Load, buying: Buying, room: Room, state: Callable[[], str]) -> None:
        super().__init__(console, COLUMNS)
        self._load, self._buying, self._room, self._state = load, buying, room, state
        self._before = self._counted()
        self._before_s = time.monotonic()
        self.offered_per_s = 0.0

    async def keep(self) -> None:
        """Shows how it stands, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.due():
                self.look()

    def look(self) -> None:
        counted, now_s = self._counted(), time.monotonic()
        passed_s = max(now_s - self._before_s, 0.001)
        rates = [f"{(now - before) / passed_s:.0f}" for now, before in zip(counted, self._before, strict=True)]
        self._before, self._before_s = counted, now_s
        p99_ms = self._load.recent_p99_ms()
        self.show(
            f"{self.offered_per_s:.0f}",
            *rates,
            f"{self._room.tickets - self._room.let_in}",
            f"{self._room.let_in}",
            f"{len(self._buying.ledger)}",
            f"{len(self._buying.paid)}",
            self._state(),
            f"{p99_ms:.0f}",
        )

    def _counted(self) -> tuple[int, ...]:
        counts = self._load.counts
        refused = counts.refused
        return (
            counts.sent,
            counts.good,
            refused["overloaded"],
            refused["too-many-requests"],
            sum(refused[slug] for slug in NO_ADMISSION),
        )
