"""Placing what checkout has priced and held: whoever arrives during a commit shares the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from doorbuster.contexts.orders import store
from doorbuster.contexts.orders.model import order_from
from doorbuster.contexts.orders.placing import insert_missing
from doorbuster.contracts.orders import Order, OrderDraft, OrderPlaced
from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.telemetry.crash_points import crash_point

PLACED_AT_ONCE, WAITING_MAX = 256, 8192


class Drafts:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database
        self._commits: GroupCommit[OrderDraft, Order] = GroupCommit(
            self._place_batch, max_batch=PLACED_AT_ONCE, max_waiting=WAITING_MAX
        )

    async def close(self) -> None:
        await self._commits.close()

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        """See contracts.orders.Orders."""
        answers = [self._enqueue(draft) for draft in drafts]
        waiting = [answer for answer in answers if isinstance(answer, asyncio.Future)]
        await asyncio.gather(*waiting, return_exceptions=True)
        return [_outcome(answer) for answer in answers]

    def _enqueue(self, draft: OrderDraft) -> asyncio.Future[Order] | Overloaded:
        try:
            return self._commits.enqueue(draft)
        except Overloaded as refusal:
            return refusal

    async def _place_batch(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        """One durable transaction for all who arrived while the last one was under way."""
        now_ms = self._platform.clock.now_ms()
        cause_of = {draft.id: draft.cause for draft in drafts}

        def work(tx: Tx) -> dict[int, Order]:
            wanted = [order_from(draft) for draft in drafts]
            fresh = insert_missing(tx, wanted, "checkout", "placed")
            emit(
                tx,
                [OrderPlaced(order.id, order.customer_id, order.merchant_id, order.total) for order in fresh],
                now_ms,
                [cause_of[order.id] for order in fresh],
            )
            placed = {order.id: order for order in fresh}
            known = [order.id for order in wanted if order.id not in placed]
            crash_point("orders.placed-not-committed")
            return placed | {order.id: order for order in store.find_many(tx, known)}

        placed = await self._database.write(work)
        crash_point("orders.placed")
        self._platform.wakeups.wake("orders")
        return [placed[draft.id] for draft in drafts]


def _outcome(answer: asyncio.Future[Order] | Overloaded) -> Order | Exception:
    if isinstance(answer, Overloaded):
        return answer
    error = answer.exception()
    if error is not None and not isinstance(error, Exception):
        raise error
    return answer.result() if error is None else error
