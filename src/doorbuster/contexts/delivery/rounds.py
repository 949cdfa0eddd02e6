"""The dispatcher: each round asks the best couriers for all that is ready. Any number of them may run at once."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from doorbuster.contexts.delivery import offering
from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, dispatch
from doorbuster.kernel.errors import Busy
from doorbuster.platform.context import Platform
from doorbuster.platform.fallback import FEATURES
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "delivery"
PAGE = 500
PAGES_MAX = 20
PACE_S = 0.05
"""However often events wake it. After a round that took longer it rests as long: half of the time is others'."""
OUTAGE_PAUSE_S = 2.0

log = structlog.get_logger(NAME)


class Dispatcher:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database
        self._settings = platform.settings.delivery
        self._features = platform.runtime.live(FEATURES)

    async def run(self) -> None:
        """Rounds until cancelled."""
        woken, loop = self._platform.wakeups.subscribe(NAME), asyncio.get_running_loop()
        try:
            while True:
                woken.clear()
                begun_s = loop.time()
                pause_s = self._settings.round_s
                try:
                    await self.round()
                except Busy as outage:
                    log.warning("dispatcher waits", error=repr(outage))
                    pause_s = OUTAGE_PAUSE_S
                await asyncio.sleep(max(PACE_S, loop.time() - begun_s))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await woken.wait()
        finally:
            self._platform.wakeups.unsubscribe(NAME, woken)

    async def round(self) -> int:
        """Ends offers whose time is over, and makes new ones; returns how many. Raises Busy."""
        await self._expire()
        if not self._features().dispatch:
            return 0
        now_ms = self._platform.clock.now_ms()
        tasks, couriers = await self._database.read(lambda tx: self._look(tx, now_ms))
        if not tasks or not couriers:
            return 0
        proposals = await asyncio.to_thread(dispatch, tasks, couriers, now_ms)
        if not proposals:
            return 0
        numbered = [(self._platform.ids.next(proposal.courier_id), proposal) for proposal in proposals]
        expires_ms, load_max = now_ms + self._settings.offer_s * 1000, self._settings.load_max
        crash_point("delivery.round-decided")
        made = await self._database.write(lambda tx: offering.make(tx, numbered, now_ms, expires_ms, load_max))
        crash_point("delivery.offers-made")
        if made:
            self._platform.wakeups.wake(NAME)
        return len(made)

    def _look(self, tx: Tx, now_ms: int) -> tuple[list[OpenTask], list[FreeCourier]]:
        settings = self._settings
        fresh_since_ms = now_ms - settings.position_fresh_s * 1000
        couriers = offering.free_couriers(tx, now_ms, fresh_since_ms, settings.load_max, settings.couriers_per_round)
        return offering.open_tasks(tx, now_ms, settings.tasks_per_round) if couriers else [], couriers

    async def _expire(self) -> None:
        now_ms = self._platform.clock.now_ms()
        until_ms = now_ms + self._settings.excluded_s * 1000
        for _ in range(PAGES_MAX):
            late = await self._database.read(lambda tx: offering.due(tx, now_ms, PAGE))
            if late:
                await self._database.write(lambda tx, late=late: offering.expire(tx, late, now_ms, until_ms))
            if len(late) < PAGE:
                return
