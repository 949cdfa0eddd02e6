"""Holds whose time is over are found by query, after a downtime of any length."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.contexts.inventory import settling, store
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.platform.sql.database import Database
from doorbuster.platform.telemetry.crash_points import crash_point

PAGE = 500
PAUSE_S, OUTAGE_PAUSE_S = 0.5, 2.0

log = structlog.get_logger("inventory")


class Expiry:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = PAUSE_S
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("expiry of holds waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> int:
        """Lets go of every hold whose time is over; returns how many. Raises Unavailable."""
        now_ms, done = self._clock.now_ms(), 0
        while due := await self._database.read(lambda tx: store.due_holds(tx, now_ms, PAGE)):
            done += len(
                await self._database.write(lambda tx, due=due: settling.release(tx, due, "expired", now_ms, now_ms))
            )
            crash_point("inventory.expired")
        return done
