"""Hints between a transaction, which may run in a thread of its database, and a loop that sweeps anyway."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

COMMIT_S = 0.01
"""A hint is given inside a transaction; the row can be seen after its commit, which takes about this long."""


class Hint:
    """Given from any thread, before the commit; heard on the loop, shortly after it. A lost one costs a sweep."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._given = asyncio.Event()

    def give(self) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(loop.call_later, COMMIT_S, self._given.set)

    @contextmanager
    def listening(self) -> Generator[Hint]:
        """Hints are heard inside."""
        self._loop = asyncio.get_running_loop()
        try:
            yield self
        finally:
            self._loop = None

    async def wait(self, at_most_s: float) -> None:
        """Until a hint, or for `at_most_s` seconds."""
        try:
            async with asyncio.timeout(at_most_s):
                await self._given.wait()
        except TimeoutError:
            return
        finally:
            self._given.clear()
