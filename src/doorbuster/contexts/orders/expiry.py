"""Deadlines: unpaid orders are found by query when their time is over, after a downtime of any length.

The provider is asked first, outside any transaction: nobody who paid while we were down loses the goods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.cancelling import cancelled
from doorbuster.contexts.orders.store import Due
from doorbuster.contracts.payments import Payments
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

PAGE = 500
PAUSE_S = 0.25
OUTAGE_PAUSE_S = 2.0
FIRST_DOUBT_MS, DOUBT_MAX_MS = 500, 30_000
DOUBTS_MAX = 100_000

log = structlog.get_logger("orders")


class Doubts:
    """Orders whose payment the provider could not speak for: each is asked about after a doubled pause.

    A hint kept in memory: forgetting it (a restart, DOUBTS_MAX) costs a question more.
    """

    def __init__(self) -> None:
        self._next: dict[int, tuple[int, int]] = {}
        """When an order may be asked about again, and the pause after that."""

    def may_ask(self, order_id: int, now_ms: int) -> bool:
        return self._next.get(order_id, (0, 0))[0] <= now_ms

    def learn(self, doubtful: Iterable[int], closed: Iterable[int], now_ms: int) -> None:
        for order_id in closed:
            self._next.pop(order_id, None)
        if len(self._next) > DOUBTS_MAX:
            self._next.clear()
        for order_id in doubtful:
            pause_ms = self._next.get(order_id, (0, FIRST_DOUBT_MS))[1]
            self._next[order_id] = (now_ms + pause_ms, min(2 * pause_ms, DOUBT_MAX_MS))


class Expiry:
    def __init__(self, platform: Platform, database: Database, payments: Payments) -> None:
        self._platform = platform
        self._database = database
        self._payments = payments
        self._doubts = Doubts()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = PAUSE_S
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("expiry waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> int:
        """Cancels every order whose time to pay is over; returns how many. Raises Unavailable.

        Orders whose payment the provider cannot speak for stay as they are; the next sweep asks again.
        """
        now_ms = self._platform.clock.now_ms()
        cancelled, after = 0, Due(0, 0)
        while page := await self._database.read(lambda tx, after=after: store.due(tx, now_ms, after, PAGE)):
            after = page[-1]
            asked = [order.id for order in page if self._doubts.may_ask(order.id, now_ms)]
            if not asked:
                continue
            answers = await self._payments.close_open(asked)
            crash_point("expiry.provider-asked")
            closed = [order_id for order_id in asked if answers.get(order_id) == "closed"]
            self._doubts.learn(set(asked).difference(closed), closed, now_ms)
            if closed:
                cancelled += await self._cancel(closed, now_ms)
        return cancelled

    async def _cancel(self, order_ids: list[int], now_ms: int) -> int:
        def work(tx: Tx) -> int:
            moved = store.move(
                tx,
                order_ids,
                "pending_payment",
                "cancelled",
                who="deadline",
                actor="deadline",
                cause="payment-deadline",
                now_ms=now_ms,
                due_by_ms=now_ms,
            )
            emit(tx, cancelled(tx, moved, "payment-deadline", was_paid=False), now_ms)
            return len(moved)

        count = await self._database.write(work)
        crash_point("expiry.committed")
        self._platform.wakeups.wake("orders")
        return count
