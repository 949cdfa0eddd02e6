"""What has served its time is deleted, in pages, so that no transaction is long."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.contexts.notifications import store
from doorbuster.kernel.errors import Busy
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database

PAGE = 500
PAGES_MAX = 50
PAUSE_S = 60.0
DAY_MS = 86_400_000

log = structlog.get_logger("notifications")


class Housekeeping:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("housekeeping waits", error=repr(outage))
            await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> int:
        """Deletes what is older than the setting says; returns how many rows. Raises Unavailable."""
        kept_ms = self._platform.settings.notifications.kept_days * DAY_MS
        before_ms = self._platform.clock.now_ms() - kept_ms
        deleted = 0
        for _ in range(PAGES_MAX):
            page = await self._database.write(lambda tx: store.purge(tx, before_ms, PAGE))
            deleted += page
            if not page:
                break
        return deleted
