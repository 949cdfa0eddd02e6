"""Bounded places and a bounded queue before them, in order of arrival. A neighbour that stalls fills its own, and no
other's."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.kernel.errors import Overloaded


class BulkheadSettings(Struct, frozen=True, forbid_unknown_fields=True):
    at_once: Annotated[int, Meta(ge=1, le=10_000)] = 32
    waiting_max: Annotated[int, Meta(ge=0, le=100_000)] = 256
    """The next one is refused at once."""
    wait_ms: Annotated[int, Meta(ge=1, le=60_000)] = 3_000
    """Who has waited so long in vain is refused."""


class Bulkhead:
    """`settings` are read whenever somebody comes or goes. Used from one event loop."""

    def __init__(self, settings: Callable[[], BulkheadSettings]) -> None:
        self._settings = settings
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.under_way = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, wait_s_max: float | None = None) -> AsyncGenerator[None]:
        """A place inside, for the length of the block. `wait_s_max`: the caller's own patience. Raises Overloaded."""
        await self._enter(wait_s_max)
        try:
            yield
        finally:
            self.under_way -= 1
            self._admit()

    async def _enter(self, wait_s_max: float | None) -> None:
        settings = self._settings()
        if self.under_way < settings.at_once and not self._waiting:
            self.under_way += 1
            return
        if len(self._waiting) >= settings.waiting_max:
            self.refused += 1
            raise Overloaded("too many wait for the same part of the shop")
        wait_s = settings.wait_ms / 1000 if wait_s_max is None else min(settings.wait_ms / 1000, wait_s_max)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn  # whoever leaves hands over the place
        except BaseException as gone:
            self._step_back(turn)
            if not isinstance(gone, TimeoutError):
                raise
            self.refused += 1
            raise Overloaded("waited too long for a part of the shop") from gone

    def _step_back(self, turn: asyncio.Future[None]) -> None:
        """Out of the queue, or the place that was just handed over goes to the next one."""
        if turn.done() and not turn.cancelled():
            self.under_way -= 1
            self._admit()
        else:
            turn.cancel()
            with contextlib.suppress(ValueError):  # whoever left has thrown it out already
                self._waiting.remove(turn)

    def _admit(self) -> None:
        at_once = self._settings().at_once
        while self._waiting and self.under_way < at_once:
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)
