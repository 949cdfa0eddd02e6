"""Parcels that nobody confirms count as received some days after they were sent: found by query, after any downtime."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.model import Who
from doorbuster.contracts.orders import OrderCompleted, Status
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx

SWEEP_S = 60.0
PAGE, PAGES_MAX = 500, 1_000
DAY_MS = 24 * 3_600_000

log = structlog.get_logger("orders")


def complete_rows(
    tx: Tx, order_ids: Sequence[int], from_status: Status, who: Who, actor: str, cause: str, now_ms: int
) -> int:
    """Completes those that stand at `from_status`, and tells; returns how many."""
    moved = store.move(tx, order_ids, from_status, "completed", who=who, actor=actor, cause=cause, now_ms=now_ms)
    emit(tx, [OrderCompleted(each.id, each.customer_id, cause) for each in moved], now_ms)
    return len(moved)


class Completion:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("completion waits", error=repr(outage))
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> int:
        """Completes every parcel that has been under way for long enough; returns how many. Raises Unavailable."""
        now_ms = self._platform.clock.now_ms()
        before_ms = now_ms - self._platform.settings.orders.complete_after_days * DAY_MS
        completed = 0
        for _ in range(PAGES_MAX):
            old = await self._database.read(lambda tx: store.shipped_before(tx, before_ms, PAGE))
            if not old:
                break
            completed += await self._database.write(
                lambda tx, old=old: complete_rows(tx, old, "shipped", "deadline", "deadline", "automatic", now_ms)
            )
            self._platform.wakeups.wake("orders")
        return completed
