"""What nobody needs any more is deleted, in pages, so that no transaction is long."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.contexts.accounts import session_store
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import forget_keys

PAGE = 1000
PAGES_MAX = 50
PAUSE_S = 60.0

log = structlog.get_logger("accounts")


class Purge:
    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Sweeps until cancelled. An outage of the database only delays it."""
        while True:
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("purge waits", error=repr(outage))
            await asyncio.sleep(PAUSE_S)

    async def sweep(self) -> int:
        """Deletes ended sessions, past guesses and old idempotency keys; returns the number of rows.

        At most 50 pages of 1000 rows of each kind; the next sweep goes on. Raises Unavailable.
        """
        deleted = 0
        for _ in range(PAGES_MAX):
            page = await self._database.write(self._page)
            deleted += page
            if page == 0:
                break
        return deleted

    def _page(self, tx: Tx) -> int:
        now_ms = self._clock.now_ms()
        return session_store.purge(tx, now_ms, PAGE) + forget_keys(tx, now_ms, PAGE)
