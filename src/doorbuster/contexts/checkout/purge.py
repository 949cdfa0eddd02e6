"""Carts that nobody has touched for long are deleted, in pages."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.contexts.checkout import store
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.kernel.ids import EPOCH_MS, SEQUENCE_BITS, SHARD_BITS, WORKER_BITS
from doorbuster.platform.sql.database import Database

PAGE = 1000
PAUSE_S = 60.0
PAGE_PAUSE_S = 0.05
DAY_MS = 24 * 3600 * 1000

log = structlog.get_logger("checkout")


class Purge:
    def __init__(self, database: Database, clock: Clock, kept_days: int) -> None:
        self._database = database
        self._clock = clock
        self._kept_ms = kept_days * DAY_MS

    async def run(self) -> None:
        """Sweeps until cancelled. An outage of the database only delays it."""
        while True:
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("purge waits", error=repr(outage))
            await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> None:
        """Deletes carts idle for longer than they are kept, ordered ones too: a checkout has what was ordered.

        Ids rise with time, so only carts old enough are looked at. Raises Unavailable.
        """
        now_ms = self._clock.now_ms()
        idle_since_ms = now_ms - self._kept_ms
        id_before = max(0, idle_since_ms - EPOCH_MS) << (SHARD_BITS + WORKER_BITS + SEQUENCE_BITS)
        after: int | None = 0
        while after is not None:
            after = await self._database.write(
                lambda tx, after=after: store.purge(tx, id_before, idle_since_ms, after, PAGE)
            )
            await asyncio.sleep(PAGE_PAUSE_S)
