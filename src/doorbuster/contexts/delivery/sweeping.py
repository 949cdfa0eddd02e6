"""Nobody is forgotten: what stands still is found by query, after any downtime, and carried on or shouted about."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from doorbuster.contexts.delivery import changing, store
from doorbuster.contexts.delivery import shipping as shipping_rows
from doorbuster.contexts.delivery.model import Task
from doorbuster.contexts.delivery.parcels import Parcels
from doorbuster.contexts.delivery.stepping import Steps
from doorbuster.contexts.delivery.tables import couriers, tasks
from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx

NAME = "delivery"
PAGE = 200
SWEEP_S = 1.0
OUTAGE_PAUSE_S = 2.0

log = structlog.get_logger(NAME)


class Sweeper:
    def __init__(self, platform: Platform, database: Database, steps: Steps, parcels: Parcels) -> None:
        self._platform = platform
        self._database = database
        self._steps = steps
        self._parcels = parcels
        self._settings = platform.settings.delivery

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = SWEEP_S
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("delivery sweeper waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> None:
        """One look at everything that stands still. Raises Unavailable."""
        await self._carry_on()
        now_ms = self._platform.clock.now_ms()
        silent = await self._database.read(lambda tx: self._silent(tx, now_ms))
        for task in silent:
            await self._database.write(lambda tx, task=task: self._take_back(tx, task, now_ms))
        urgent, alarmed = await self._database.write(lambda tx: self._press(tx, now_ms))
        for task_id in alarmed:
            log.error("nobody looks after a delivery", task_id=task_id)
        if silent or urgent:
            self._platform.wakeups.wake(NAME)
        await self._database.write(lambda tx: store.forget_exclusions(tx, now_ms, PAGE))

    async def _carry_on(self) -> None:
        """Steps and parcels that were begun and not ended. What is refused is logged; the others go on."""
        now_ms = self._platform.clock.now_ms()
        before_ms = now_ms - self._settings.resume_after_s * 1000
        begun = await self._database.read(lambda tx: store.steps_before(tx, before_ms, PAGE))
        for task in begun:
            await self._database.write(lambda tx, task=task: store.touch_step(tx, task.id, now_ms))
            assert task.step is not None, "asked for in the query"
            try:
                await self._steps.carry_on(task, task.step)
            except ShopError as refused:
                log.warning("delivery step stopped", task_id=task.id, step=task.step, error=repr(refused))
        sending = await self._database.read(lambda tx: shipping_rows.sending_before(tx, before_ms, PAGE))
        for shipment in sending:
            order_id = shipment.order_id
            await self._database.write(lambda tx, order_id=order_id: shipping_rows.touch(tx, order_id, now_ms))
            try:
                await self._parcels.carry_on(order_id)
            except ShopError as refused:
                log.warning("sending stopped", order_id=order_id, error=repr(refused))

    def _silent(self, tx: Tx, now_ms: int) -> Sequence[Task]:
        """Assigned to couriers of whom nothing was heard for long, and not being picked up."""
        before_ms = now_ms - self._settings.silent_after_s * 1000
        statement = (
            sa.select(tasks)
            .join(couriers, couriers.c.id == tasks.c.courier_id)
            .where(
                tasks.c.status == sa.literal_column("'assigned'"),
                tasks.c.step.is_(None),
                tasks.c.changed_ms <= before_ms,
                couriers.c.heard_ms <= before_ms,
            )
            .order_by(tasks.c.id)
            .limit(PAGE)
        )
        return [store.task_of(row) for row in tx.execute(statement)]

    def _take_back(self, tx: Tx, seen: Task, now_ms: int) -> None:
        task = store.locked(tx, seen.id)
        if task is None or task.version != seen.version or task.step is not None:
            return  # it moved on meanwhile
        until_ms = now_ms + self._settings.excluded_s * 1000
        changing.take_back(
            tx, task, who="sweeper", actor="sweeper", cause="silent", now_ms=now_ms, excluded_until_ms=until_ms
        )

    def _press(self, tx: Tx, now_ms: int) -> tuple[int, list[int]]:
        """How many became urgent, and those that people have to look after now; a page of each, the next sweep goes on.

        What is locked is just being moved: it is left to the next sweep, and nobody waits for anybody.
        """
        urgent_ms = now_ms - self._settings.urgent_after_s * 1000
        alarm_ms = now_ms - self._settings.alarm_after_s * 1000
        unpressed = (
            tasks.c.status == sa.literal_column("'ready'"),
            tasks.c.ready_ms <= urgent_ms,
            tasks.c.urgent.is_(False),
        )
        under_way = sa.not_(tasks.c.status.in_([sa.literal_column("'delivered'"), sa.literal_column("'cancelled'")]))
        unseen = (under_way, tasks.c.alarmed_ms.is_(None), tasks.c.changed_ms <= alarm_ms)
        pressed = _marked(tx, unpressed, tasks.c.ready_ms, {"urgent": True})
        return len(pressed), _marked(tx, unseen, tasks.c.changed_ms, {"alarmed_ms": now_ms})


def _marked(
    tx: Tx, where: Sequence[sa.ColumnElement[bool]], oldest: sa.Column[int], values: dict[str, object]
) -> list[int]:
    """Changes a page of the tasks that are so, the oldest first; returns which."""
    found = sa.select(tasks.c.id).where(*where).order_by(oldest).limit(PAGE).with_for_update(skip_locked=True)
    ids = list(tx.execute(found).scalars())
    if ids:
        tx.execute(sa.update(tasks).where(tasks.c.id.in_(ids)).values(**values))
    return ids
