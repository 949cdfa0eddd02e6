"""Who is reading or writing a key just now, so that a change can tell them."""

from __future__ import annotations

from dataclasses import dataclass

EVERY_VERSION = 1 << 63
"""Above all versions."""


@dataclass(slots=True, eq=False)
class Ticket:
    """What its holder brings is kept only if its version is at least `floor`."""

    key: str
    floor: int = 0


class Tickets:
    """As many as there are reads and writes under way."""

    def __init__(self) -> None:
        self._open: dict[str, set[Ticket]] = {}

    def open(self, key: str) -> Ticket:
        ticket = Ticket(key)
        self._open.setdefault(key, set()).add(ticket)
        return ticket

    def close(self, ticket: Ticket) -> None:
        held = self._open.get(ticket.key)
        if held is not None:
            held.discard(ticket)
            if not held:
                del self._open[ticket.key]

    def mark(self, key: str, version: int) -> None:
        """The key has this version by now."""
        for ticket in self._open.get(key, ()):
            ticket.floor = max(ticket.floor, version)

    def mark_all(self) -> None:
        for held in self._open.values():
            for ticket in held:
                ticket.floor = EVERY_VERSION
