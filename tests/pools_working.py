"""Work that goes as far as a test lets it, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

PATIENCE_S = 10.0
"""Only a failure takes so long."""


async def met(condition: Callable[[], bool]) -> None:
    """Returns when it holds; lets others have their turn until then."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def quiet(rounds: int = 50) -> None:
    """Whatever could go on by itself has done so: nothing here waits for anything but the loop."""
    for _ in range(rounds):
        await asyncio.sleep(0)


class Work:
    """`await work(n)` begins, waits until `let(n)` or `let_all()`, and answers 10 n; or fails as `fail(n)` says."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.now = self.most = 0
        self._free = False
        self._gates: dict[int, asyncio.Event] = {}
        self._errors: dict[int, BaseException] = {}

    async def __call__(self, number: int) -> int:
        self.begun.append(number)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if not self._free:
                await self._gate(number).wait()
            if number in self._errors:
                raise self._errors[number]
            self.ended.append(number)
            return 10 * number
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        finally:
            self.now -= 1

    def let(self, *numbers: int) -> None:
        for number in numbers:
            self._gate(number).set()

    def let_all(self) -> None:
        self._free = True
        for gate in self._gates.values():
            gate.set()

    def fail(self, number: int, error: BaseException) -> None:
        self._errors[number] = error

    def _gate(self, number: int) -> asyncio.Event:
        return self._gates.setdefault(number, asyncio.Event())


class Bad(Exception):
    """What a test lets go wrong."""
