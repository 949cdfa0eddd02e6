"""Steps that orders take part in: pick-up and delivery.

A step is written on the task before orders are asked, and the task moves after they have agreed. What a crash cuts
short the sweeper carries on; whoever comes second finds it done.
"""

from __future__ import annotations

import contextlib

from doorbuster.contexts.delivery import changing, couriers, store
from doorbuster.contexts.delivery.model import Step, Task
from doorbuster.contracts.delivery import MoveNotPossible, OrderDelivered, TaskNotFound, TaskStatus
from doorbuster.contracts.orders import OrderNotCompletable, OrderNotShippable, Orders
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "delivery"
BEGINS: dict[Step, TaskStatus] = {"picking_up": "assigned", "delivering": "picked_up"}
ENDS: dict[Step, TaskStatus] = {"picking_up": "picked_up", "delivering": "delivered"}
REACHED: dict[Step, tuple[TaskStatus, ...]] = {
    "picking_up": ("picked_up", "delivered"),
    "delivering": ("delivered",),
}


class Steps:
    def __init__(self, platform: Platform, database: Database, orders: Orders) -> None:
        self._platform = platform
        self._database = database
        self._orders = orders

    async def take(self, courier_id: int, task_id: int, step: Step) -> Task:
        """One courier's step, from its beginning or wherever it stands; one that is done stays done.

        Raises TaskNotFound (also another courier's), MoveNotPossible, Unavailable (begun; it is carried on).
        """

        def begin(tx: Tx) -> Task:
            task = store.locked(tx, task_id)
            if task is None or task.courier_id != courier_id:
                raise TaskNotFound
            if task.status == BEGINS[step]:
                store.begin_step(tx, task, step, self._platform.clock.now_ms())
            elif task.status not in REACHED[step]:
                raise MoveNotPossible(status=task.status)
            return task

        task = await self._database.write(begin)
        crash_point(f"delivery.{step}")
        return task if task.status in REACHED[step] else await self.carry_on(task, step)

    async def carry_on(self, task: Task, step: Step) -> Task:
        """Ends a step that was begun by the task's courier. Raises MoveNotPossible, Unavailable."""
        courier_id = task.courier_id
        assert courier_id is not None, "who begins a step carries the task"
        actor = f"account {courier_id}"
        if step == "picking_up":
            try:
                await self._orders.send_off(task.id, actor, "picked up")
            except OrderNotShippable as refused:
                await self._cancelled(task.id)
                raise MoveNotPossible(status="cancelled") from refused
        else:
            # Given back while it was under way: it is in the customer's hands all the same.
            with contextlib.suppress(OrderNotCompletable):
                await self._orders.complete(task.id, actor, "delivered")
        crash_point(f"delivery.{step}-agreed")
        done = await self._database.write(lambda tx: self._finish(tx, task.id, courier_id, step))
        self._platform.wakeups.wake(NAME)
        return done

    async def _cancelled(self, task_id: int) -> None:
        now_ms = self._platform.clock.now_ms()
        await self._database.write(lambda tx: changing.cancel_all(tx, [task_id], "given back", now_ms))
        self._platform.wakeups.wake(NAME)

    def _finish(self, tx: Tx, task_id: int, courier_id: int, step: Step) -> Task:
        now_ms = self._platform.clock.now_ms()
        task = store.locked(tx, task_id)
        assert task is not None, "tasks are never deleted"
        if task.courier_id == courier_id and task.status in REACHED[step]:
            return task
        if task.courier_id != courier_id or task.status != BEGINS[step]:
            raise MoveNotPossible(status=task.status)
        when = {"picked_up_ms": now_ms} if step == "picking_up" else {"delivered_ms": now_ms}
        actor, to = f"account {courier_id}", ENDS[step]
        done = store.move(tx, task, to, who="courier", actor=actor, cause=to, now_ms=now_ms, **when)
        assert done is not None, "it is locked"
        if step == "delivering":
            couriers.unload_one(tx, courier_id, now_ms, delivered=True)
            emit(tx, [OrderDelivered(task_id, task.customer_id, courier_id)], now_ms)
        changing.show(tx, task_id, to, now_ms)
        crash_point(f"delivery.{to}-not-committed")
        return done
