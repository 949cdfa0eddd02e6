"""Use cases of merchants, customers and support. Couriers' own are in `riding`, parcels in `parcels`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from doorbuster.contexts.delivery import books, changing, couriers, store
from doorbuster.contexts.delivery.knowing import Knowing, actor_of, serves
from doorbuster.contexts.delivery.model import CARRIED, DECLINABLE, PRESSABLE, Courier, Task, Who
from doorbuster.contexts.delivery.parcels import Parcels
from doorbuster.contexts.delivery.riding import Riding
from doorbuster.contracts.audit import Check
from doorbuster.contracts.delivery import DeliveryInvalid, MoveNotPossible, OrderDeclined, TaskNotFound, TaskStatus
from doorbuster.contracts.orders import OrderNotFound
from doorbuster.kernel.places import Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.paging import Page

NAME = "delivery"
log = structlog.get_logger(NAME)
ReadAfter = Callable[[int, int], Awaitable[Sequence[tuple[int, bytes]]]]


class DeliveryService:
    """Satisfies contracts.audit.Auditable."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        knowing: Knowing,
        parcels: Parcels,
        riding: Riding,
        hub: Hub,
    ) -> None:
        self._platform = platform
        self._database = database
        self._knowing = knowing
        self.parcels = parcels
        self.riding = riding
        self.hub = hub

    # --- merchants ----------------------------------------------------------------------------------------------

    async def put_place(self, principal: Principal, place: Place) -> None:
        """Where couriers fetch this merchant's orders; of those that are accepted from now on."""
        now_ms = self._platform.clock.now_ms()
        await self._database.write(lambda tx: store.put_merchant_place(tx, principal.account_id, place, now_ms))

    async def list_of(self, principal: Principal, status: TaskStatus, after: int | None, limit: int) -> Page[Task]:
        """A merchant's own, oldest first."""
        found = await self._database.read(
            lambda tx: store.list_of_merchant(tx, principal.account_id, status, after or 0, limit + 1)
        )
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def accept(self, principal: Principal, order_id: int) -> Task:
        """waiting → preparing. Raises TaskNotFound, MoveNotPossible, DeliveryInvalid (the merchant has no place)."""

        def work(tx: Tx, task: Task, now_ms: int) -> Task | None:
            place = store.merchant_place(tx, task.merchant_id)
            if place is None:
                raise DeliveryInvalid("say first where couriers come to: PUT /v1/merchant/place")
            at = {"pick_up_latitude": place.latitude, "pick_up_longitude": place.longitude}
            return _moved(tx, principal, task, "preparing", "accepted", now_ms, **at)

        return await self._served(principal, order_id, ("waiting",), "preparing", work)

    async def ready(self, principal: Principal, order_id: int) -> Task:
        """preparing → ready: a courier is looked for. Raises TaskNotFound, MoveNotPossible."""

        def work(tx: Tx, task: Task, now_ms: int) -> Task | None:
            return _moved(tx, principal, task, "ready", "ready", now_ms, ready_ms=now_ms)

        return await self._served(principal, order_id, ("preparing",), "ready", work)

    async def decline(self, principal: Principal, order_id: int, reason: str) -> Task:
        """The merchant cannot prepare it: orders give the money back. Raises TaskNotFound, MoveNotPossible."""

        def work(tx: Tx, task: Task, now_ms: int) -> Task | None:
            who, actor = _who(principal), actor_of(principal)
            moved = changing.cancel(tx, task.id, who=who, actor=actor, cause="declined", now_ms=now_ms)
            emit(tx, [OrderDeclined(task.id, task.merchant_id, reason)], now_ms)
            return moved

        return await self._served(principal, order_id, DECLINABLE, "cancelled", work)

    async def reassign(self, principal: Principal, order_id: int) -> Task:
        """assigned → ready: another courier is looked for. Raises TaskNotFound, MoveNotPossible (also while it is
        being picked up)."""

        def work(tx: Tx, task: Task, now_ms: int) -> Task | None:
            if task.step is not None:
                raise MoveNotPossible(status=task.status)
            until_ms = now_ms + self._platform.settings.delivery.excluded_s * 1000
            return changing.take_back(
                tx,
                task,
                who=_who(principal),
                actor=actor_of(principal),
                cause="reassigned",
                now_ms=now_ms,
                excluded_until_ms=until_ms,
            )

        return await self._served(principal, order_id, ("assigned",), None, work)

    async def prioritise(self, principal: Principal, order_id: int, priority: int, *, urgent: bool) -> Task:
        """Puts a delivery before or behind others, until it is picked up. Raises TaskNotFound, MoveNotPossible."""

        def work(tx: Tx, task: Task, _now_ms: int) -> Task | None:
            return store.put_priority(tx, task, priority, urgent=urgent)

        task = await self._served(principal, order_id, PRESSABLE, None, work)
        log.info("delivery priority", task_id=order_id, actor=actor_of(principal), priority=priority, urgent=urgent)
        return task

    async def _served(
        self,
        principal: Principal,
        order_id: int,
        begins: Sequence[TaskStatus],
        done: TaskStatus | None,
        work: Callable[[Tx, Task, int], Task | None],
    ) -> Task:
        """A move of those who serve the order; one that stands at `done` already stays as it is."""
        await self._knowing.ensure(order_id)

        def change(tx: Tx) -> Task:
            task = store.locked(tx, order_id)
            if task is None or not serves(principal, task.merchant_id):
                raise TaskNotFound
            if task.status == done:
                return task
            if task.status not in begins:
                raise MoveNotPossible(status=task.status)
            moved = work(tx, task, self._platform.clock.now_ms())
            assert moved is not None, "it is locked"
            return moved

        task = await self._database.write(change)
        self._platform.wakeups.wake(NAME)
        return task

    # --- customers ----------------------------------------------------------------------------------------------

    async def delivery(self, principal: Principal, order_id: int) -> tuple[Task, Courier | None]:
        """How a takeout order stands, and where its courier is while they carry it. For its customer, its merchant,
        support. Raises TaskNotFound."""
        await self._knowing.ensure(order_id)

        def work(tx: Tx) -> tuple[Task, Courier | None]:
            task = store.find(tx, order_id)
            if task is None or not _may_see(principal, task):
                raise TaskNotFound
            carried = task.courier_id is not None and task.status in CARRIED
            return task, couriers.find(tx, task.courier_id) if carried and task.courier_id is not None else None

        return await self._database.read(work)

    async def reader(self, principal: Principal, order_id: int) -> ReadAfter:
        """The stream of an order, for its customer and support. Raises OrderNotFound, also for somebody else's."""
        if await self._knowing.order_of(principal, order_id) is None:
            raise OrderNotFound

        async def read(cursor: int, limit: int) -> Sequence[tuple[int, bytes]]:
            return await self._database.read(lambda tx: store.entries_after(tx, order_id, cursor, limit))

        return read

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms, settings = self._platform.clock.now_ms(), self._platform.settings.delivery
        return await self._database.read(lambda tx: books.checks(tx, now_ms, settings))


def _moved(
    tx: Tx, principal: Principal, task: Task, to: TaskStatus, cause: str, now_ms: int, **values: float
) -> Task | None:
    moved = store.move(
        tx, task, to, who=_who(principal), actor=actor_of(principal), cause=cause, now_ms=now_ms, **values
    )
    changing.show(tx, task.id, to, now_ms)
    return moved


def _who(principal: Principal) -> Who:
    return "merchant" if principal.role == "merchant" else "support"


def _may_see(principal: Principal, task: Task) -> bool:
    return principal.account_id == task.customer_id or serves(principal, task.merchant_id)
