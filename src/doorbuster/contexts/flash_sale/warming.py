"""Has the products of sales that are about to open at hand before the crowd comes."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.contexts.flash_sale import store
from doorbuster.contracts.catalog import Showcase
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.platform.sql.database import Database

EVERY_S = 5.0
AHEAD_MS = 60_000
"""A sale is warmed this long before it opens, again and again until then: a copy may be taken back meanwhile."""
AT_ONCE_MAX = 500
"""Sales that are warmed; of more, those that open first."""

log = structlog.get_logger("flash_sale")


class Warming:
    def __init__(self, database: Database, catalog: Showcase, clock: Clock) -> None:
        self._database, self._catalog, self._clock = database, catalog, clock

    async def run(self) -> None:
        """Until cancelled. That it fails makes a sale slower to look at, nothing else."""
        while True:
            try:
                await self.warm()
            except Busy as outage:
                log.warning("sales are not warmed", error=repr(outage))
            await asyncio.sleep(EVERY_S)

    async def warm(self) -> int:
        """How many SKUs are about to be sold. Raises Unavailable."""
        now_ms = self._clock.now_ms()
        sku_ids = await self._database.read(lambda tx: store.skus_opening(tx, now_ms, AHEAD_MS, AT_ONCE_MAX))
        if sku_ids:
            await self._catalog.preload(sku_ids)
        return len(sku_ids)
