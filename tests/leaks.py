"""Finds what a test leaves behind: tasks, sockets, and whatever else it says can be counted.

    async def test_…(leaks: Leaks):
        leaks.watch("claims that wait", lambda: commits.waiting + commits.committing)

When the test is over, everything must come back to where it was, within a bound; what does not is named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

SETTLED_S_MAX = 20.0
"""Only a failure takes so long."""


class Leaks:
    """Tasks of this loop and sockets of this process, and what is watched beside."""

    def __init__(self) -> None:
        self._tasks = asyncio.all_tasks()
        self._sockets = open_sockets()
        self._watched: dict[str, Callable[[], int]] = {}

    def watch(self, what: str, count: Callable[[], int]) -> None:
        """`count` must be 0 in the end."""
        self._watched[what] = count

    def left(self) -> list[str]:
        """What is there that was not, in words."""
        tasks = [
            f"task {task.get_name()}: {task.get_coro()}"
            for task in asyncio.all_tasks() - self._tasks
            if task is not asyncio.current_task() and not task.done()
        ]
        sockets = open_sockets() - self._sockets
        counted = {what: count() for what, count in self._watched.items()}
        return [
            *tasks,
            *([f"{len(sockets)} sockets"] if sockets else []),
            *(f"{number} {what}" for what, number in counted.items() if number),
        ]

    async def settle(self) -> None:
        """Waits until nothing is left. Raises AssertionError, naming what is."""
        deadline_s = time.monotonic() + SETTLED_S_MAX
        while left := self.left():
            assert time.monotonic() < deadline_s, f"left behind: {left}"
            await asyncio.sleep(0.005)


def open_sockets() -> set[str]:
    """The sockets of this process, by the numbers that the kernel gave them."""
    found: set[str] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:  # closed in the meantime
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


@pytest_asyncio.fixture
async def leaks() -> AsyncIterator[Leaks]:
    """Ask for it before whatever opens connections, so that it looks last."""
    found = Leaks()
    yield found
    await found.settle()
