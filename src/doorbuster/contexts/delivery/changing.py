"""What changes a task together with its offer, its courier and its stream: within one transaction, under its lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from doorbuster.contexts.delivery import couriers, offering, shipping, store
from doorbuster.contexts.delivery.model import CANCELLABLE, KnownOrder, StatusEntry, Task, Who
from doorbuster.contracts.delivery import CourierCalledOff
from doorbuster.kernel.clock import rfc3339
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx


def know_paid(tx: Tx, known: Sequence[KnownOrder], now_ms: int) -> None:
    """Writes the task or the parcel of paid orders that are not known yet; those cancelled already begin as such."""
    fresh, cancelled = store.know(tx, known)
    shipping.insert_all(tx, [order for order in fresh if order.fulfilment == "parcel"], now_ms)
    for order in fresh:
        if order.fulfilment == "takeout":
            store.insert_task(tx, order, now_ms)
            show(tx, order.order_id, "waiting", now_ms)
    for order_id in sorted(cancelled):
        cancel(tx, order_id, who="orders", actor="orders", cause="cancelled", now_ms=now_ms)


def cancel_all(tx: Tx, order_ids: Iterable[int], cause: str, now_ms: int) -> None:
    """Orders that are given back: nothing of them will be sent off, and nobody is asked for them any more."""
    ids = sorted(set(order_ids))
    store.know_cancelled(tx, ids, now_ms)
    for order_id in ids:
        cancel(tx, order_id, who="orders", actor="orders", cause=cause, now_ms=now_ms)


def cancel(tx: Tx, order_id: int, *, who: Who, actor: str, cause: str, now_ms: int) -> Task | None:
    """Cancels a task before the pick-up, or a parcel before it is sent; what is on its way stays. The task moved."""
    shipping.cancel(tx, order_id, now_ms)
    task = store.locked(tx, order_id)
    if task is None or task.status not in CANCELLABLE:
        return None
    offering.withdraw(tx, order_id, now_ms)
    if task.courier_id is not None:
        couriers.unload_one(tx, task.courier_id, now_ms, delivered=False)
        emit(tx, [CourierCalledOff(order_id, task.courier_id)], now_ms)
    moved = store.move(
        tx, task, "cancelled", who=who, actor=actor, cause=cause, now_ms=now_ms, courier_id=None, urgent=False
    )
    if moved is not None:
        show(tx, order_id, "cancelled", now_ms)
    return moved


def take_back(
    tx: Tx, task: Task, *, who: Who, actor: str, cause: str, now_ms: int, excluded_until_ms: int
) -> Task | None:
    """assigned → ready: the courier loses the task and is not asked for it again for a while."""
    assert task.courier_id is not None, "an assigned task has a courier, by a check of the database"
    moved = store.move(tx, task, "ready", who=who, actor=actor, cause=cause, now_ms=now_ms, courier_id=None)
    if moved is not None:
        couriers.unload_one(tx, task.courier_id, now_ms, delivered=False)
        store.exclude(tx, [(task.id, task.courier_id)], excluded_until_ms)
        if who != "courier":
            emit(tx, [CourierCalledOff(task.id, task.courier_id)], now_ms)
        show(tx, task.id, "ready", now_ms)
    return moved


def show(tx: Tx, order_id: int, status: str, now_ms: int) -> None:
    """Tells whoever watches the order how it stands."""
    store.tell(tx, order_id, StatusEntry(status, rfc3339(now_ms)), now_ms)
