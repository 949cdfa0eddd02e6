"""What goes wrong while the crowd is there, in order: the provider slow, then dead; copies flushed; a limit changed."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from doorbuster.lab.demo.door.controls import LIMIT, Controls
from doorbuster.lab.demo.door.load import Counts
from doorbuster.lab.demo.people import JSON
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Pool

CALM_S = 1.5
SLOW_S, SLOW_MS = 2.0, (1_200, 2_000)
DEAD_S = 0.6
"""Before the flush, before the limit, and before it is started again."""
CLOSED_WITHIN_S = 6.0
WATCH_EVERY_S = 0.2
LIMIT_SHARES = 3
"""So many times its share of the capacity may an account ask for when the limit has been tightened."""

Tell = Callable[[str], None]


class Mark(msgspec.Struct, frozen=True):
    """What had been counted at one moment."""

    at_s: float
    sent: int
    good: int
    bots_limited: int
    people_limited: int


class Trouble:
    """Played once; what was seen stands in the fields."""

    def __init__(self, controls: Controls, simulator: SimulatorProcess, counts: Counts, tell: Tell) -> None:
        self._controls, self._simulator, self._counts, self._tell = controls, simulator, counts, tell
        self.marks: dict[str, Mark] = {}
        self.breaker = ("closed", 0)
        self.opened_before = 0
        self.flushed = self.loads_before = 0
        self.limit = 0

    async def play(self, share_per_s: float, misbehaviour: Mapping[str, Any]) -> None:
        """From the first who are let in until the breaker has closed again. Raises ShopFailed."""
        self.opened_before = (await self._controls.breaker())[1]
        self._mark("calm")
        await asyncio.sleep(CALM_S)
        self._mark("trouble")
        await self._slow(misbehaviour)
        await asyncio.sleep(SLOW_S)
        await asyncio.to_thread(self._simulator.kill)
        self._tell("the payment provider is killed; claims go on")
        await asyncio.sleep(DEAD_S)
        self.loads_before = await self._controls.loads()
        self.flushed = await self._controls.flush()
        self._tell(f"the cache is flushed: {self.flushed} copies forgotten")
        await asyncio.sleep(DEAD_S)
        await self._tighten(share_per_s)
        await asyncio.sleep(DEAD_S)
        await asyncio.to_thread(self._simulator.start)
        self._tell("the payment provider is started again, on the same books")
        await self._closed()
        self._mark("over")

    async def watch(self) -> None:
        """Keeps `breaker` as it is, until cancelled. Raises ShopFailed."""
        told = False
        while True:
            self.breaker = await self._controls.breaker()
            if not told and self.breaker[1] > self.opened_before and "trouble" in self.marks:
                self._tell("too many calls are slow or fail: the breaker opens, payments are refused at once")
                told = True
            await asyncio.sleep(WATCH_EVERY_S)

    async def _slow(self, misbehaviour: Mapping[str, Any]) -> None:
        wish = msgspec.json.encode({**misbehaviour, "slow": True, "slow_ms": SLOW_MS})
        async with Pool(self._simulator.base_url) as provider:
            answer = await provider.request("PUT", "/control/misbehaviour", JSON, wish)
        if answer.status != 200:
            raise ShopFailed(f"the provider would not be slow: {answer.status}")
        self._tell(f"the payment provider takes {SLOW_MS[0] / 1000} to {SLOW_MS[1] / 1000} s for every answer")

    async def _tighten(self, share_per_s: float) -> None:
        self.limit = math.ceil(share_per_s * LIMIT_SHARES)
        await self._controls.set("bots ask too much", {LIMIT: {"limit": self.limit, "burst": 2 * self.limit}})
        self._mark("limit")
        self._tell(f"a limit is changed while running: {self.limit} requests a second per account, for sales and goods")

    async def _closed(self) -> None:
        give_up_s = time.monotonic() + CLOSED_WITHIN_S
        while time.monotonic() < give_up_s:
            state, opened = self.breaker
            if state == "closed" and opened > self.opened_before:
                self._tell("three good probes: the breaker is closed again")
                return
            await asyncio.sleep(0.05)

    def _mark(self, name: str) -> None:
        seen = self._counts
        self.marks[name] = Mark(time.monotonic(), seen.sent, seen.good, seen.bots_limited, seen.people_limited)

    @property
    def over(self) -> bool:
        """Whether it was played to its end."""
        return "over" in self.marks

    def good_per_s(self, begin: str, end: str) -> float:
        """Between two marks; 0 if it did not come to that."""
        return self._per_s(begin, end, lambda mark: mark.good)

    def limited_per_s(self, begin: str, end: str) -> float:
        """Requests of bots that the limit refused, between two marks; 0 if it did not come to that."""
        return self._per_s(begin, end, lambda mark: mark.bots_limited)

    def _per_s(self, begin: str, end: str, count: Callable[[Mark], int]) -> float:
        first, last = self.marks.get(begin), self.marks.get(end)
        return (count(last) - count(first)) / (last.at_s - first.at_s) if first and last else 0.0
