"""Hints that an outbox has something new. Losing one costs a sweep's pause, never an event."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable


class Wakeups:
    """Wakes the relays and hubs of this process, and another process if one listens."""

    def __init__(self) -> None:
        self._subscribers: defaultdict[str, list[asyncio.Event]] = defaultdict(list)
        self._forward: Callable[[str], None] | None = None

    def forward_to(self, forward: Callable[[str], None]) -> None:
        """From now on hints are passed on through `forward` too."""
        self._forward = forward

    def subscribe(self, source: str) -> asyncio.Event:
        """For as long as the process runs, unless it is given back. What comes and goes shares a `bus.hub.Hub`."""
        event = asyncio.Event()
        self._subscribers[source].append(event)
        return event

    def unsubscribe(self, source: str, event: asyncio.Event) -> None:
        self._subscribers[source].remove(event)

    def wake(self, source: str, *, pass_on: bool = True) -> None:
        """To be called on the event loop, after the commit."""
        for event in self._subscribers.get(source, ()):
            event.set()
        if pass_on and self._forward is not None:
            self._forward(source)
