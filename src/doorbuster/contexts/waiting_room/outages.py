"""Rooms that this process cannot look after: told once when it begins, counted, shown to operators."""

from __future__ import annotations

import structlog
from msgspec import Struct
from msgspec.structs import replace

from doorbuster.kernel.errors import ShopError

FAILING_MAX = 1_000
"""Rooms that are remembered; those that began to fail first give way, and are told of again."""
FORGOTTEN_MS = 60_000
"""A room that was not tried for so long (it is over, or another process has it) is not failing any more."""

log = structlog.get_logger("waiting_room")


class Outage(Struct, frozen=True):
    """`failures`: ticks in a row that failed; `error`: the newest."""

    sale_id: int
    since_ms: int
    last_ms: int
    failures: int
    error: str


class Outages:
    """In memory: what cannot be written is no place to note that in."""

    def __init__(self) -> None:
        self._failing: dict[int, Outage] = {}

    def failed(self, sale_id: int, error: Exception, now_ms: int) -> None:
        """To be called where the error was caught. An error that nobody expects is logged with its trace."""
        self._forget(now_ms)
        known = self._failing.get(sale_id)
        if known is not None:
            self._failing[sale_id] = replace(known, last_ms=now_ms, failures=known.failures + 1, error=repr(error))
            return
        while len(self._failing) >= FAILING_MAX:
            del self._failing[next(iter(self._failing))]
        self._failing[sale_id] = Outage(sale_id, now_ms, now_ms, 1, repr(error))
        unexpected = not isinstance(error, ShopError)
        log.warning("a waiting room fails", sale_id=sale_id, error=repr(error), exc_info=unexpected)

    def mended(self, sale_id: int) -> None:
        outage = self._failing.pop(sale_id, None)
        if outage is not None:
            log.info("a waiting room goes on", sale_id=sale_id, failures=outage.failures)

    def failing(self, now_ms: int) -> list[Outage]:
        """Those that fail, the longest outage first."""
        self._forget(now_ms)
        return list(self._failing.values())

    def _forget(self, now_ms: int) -> None:
        gone = [each.sale_id for each in self._failing.values() if now_ms - each.last_ms > FORGOTTEN_MS]
        for sale_id in gone:
            del self._failing[sale_id]
