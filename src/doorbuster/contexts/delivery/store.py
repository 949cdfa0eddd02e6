"""The rows of orders, tasks, their moves and what is seen of them.

What changes the delivery of an order locks its row first (`lock`, in order of id): from there on nobody else changes
its task, its offers or its parcel until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.delivery.model import (
    BEGINNING,
    CARRIED,
    ENTRIES_KEPT,
    KnownOrder,
    PositionEntry,
    StatusEntry,
    Step,
    Task,
    Who,
    check_move,
)
from doorbuster.contexts.delivery.tables import entries, exclusions, merchant_places, moves, orders, tasks
from doorbuster.contracts.delivery import DeliveryChanged, TaskStatus
from doorbuster.kernel.places import Destination, Place
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx

_encode = msgspec.json.Encoder().encode
_destination = msgspec.json.Decoder(Destination).decode


# --- orders -----------------------------------------------------------------------------------------------------


def lock(tx: Tx, order_ids: Iterable[int]) -> set[int]:
    """Those that are known; all locks are taken in order of id, so that two who want several never wait in a circle."""
    found: set[int] = set()
    for some in _some_at_a_time(sorted(set(order_ids))):
        statement = sa.select(orders.c.order_id).where(orders.c.order_id.in_(some))
        found.update(tx.execute(statement.order_by(orders.c.order_id).with_for_update()).scalars())
    return found


def know(tx: Tx, known: Sequence[KnownOrder]) -> tuple[list[KnownOrder], set[int]]:
    """Those of the orders that were not known before, now locked; and which of them are cancelled already."""
    ids = sorted({order.order_id for order in known})
    tx.insert_all_if_absent(orders, [{"order_id": each, "known": False, "last_entry": 0} for each in ids])
    new: set[int] = set()
    cancelled: set[int] = set()
    for some in _some_at_a_time(ids):
        statement = sa.select(orders).where(orders.c.order_id.in_(some), orders.c.known.is_(False))
        for row in tx.execute(statement.order_by(orders.c.order_id).with_for_update()):
            new.add(row.order_id)
            if row.cancelled_ms is not None:
                cancelled.add(row.order_id)
        tx.execute(sa.update(orders).where(orders.c.order_id.in_(some)).values(known=True))
    return [order for order in {each.order_id: each for each in known}.values() if order.order_id in new], cancelled


def _some_at_a_time(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Statements have a bound on their parameters."""
    for start in range(0, len(ids), 500):
        yield ids[start : start + 500]


def is_known(tx: Tx, order_id: int) -> bool:
    statement = sa.select(orders.c.order_id).where(orders.c.order_id == order_id, orders.c.known)
    return tx.execute(statement).first() is not None


def know_cancelled(tx: Tx, order_ids: Iterable[int], now_ms: int) -> None:
    """Remembers that nothing is to be delivered, also of orders that are not known yet; locks them."""
    for order_id in sorted(set(order_ids)):
        row = {"order_id": order_id, "known": False, "last_entry": 0, "cancelled_ms": now_ms}
        if not tx.insert_if_absent(orders, row):
            tx.execute(
                sa.update(orders)
                .where(orders.c.order_id == order_id)
                .values(cancelled_ms=sa.func.coalesce(orders.c.cancelled_ms, now_ms))
            )


# --- the stream -------------------------------------------------------------------------------------------------


def tell(tx: Tx, order_id: int, entry: StatusEntry | PositionEntry, now_ms: int) -> None:
    """One entry more in the stream of an order, numbered under its lock. Positions far behind are forgotten."""
    n = tx.execute(
        sa.update(orders)
        .where(orders.c.order_id == order_id)
        .values(last_entry=orders.c.last_entry + 1)
        .returning(orders.c.last_entry)
    ).scalar_one()
    kind = "status" if isinstance(entry, StatusEntry) else "position"
    tx.execute(sa.insert(entries).values(order_id=order_id, n=n, kind=kind, payload=_encode(entry)))
    if n > ENTRIES_KEPT and n % 50 == 0:
        tx.execute(
            sa.delete(entries).where(
                entries.c.order_id == order_id, entries.c.n <= n - ENTRIES_KEPT, entries.c.kind == "position"
            )
        )
    emit(tx, [DeliveryChanged(order_id)], now_ms)


def entries_after(tx: Tx, order_id: int, cursor: int, limit: int) -> list[tuple[int, bytes]]:
    statement = (
        sa.select(entries.c.n, entries.c.payload)
        .where(entries.c.order_id == order_id, entries.c.n > cursor)
        .order_by(entries.c.n)
        .limit(limit)
    )
    return [(row.n, bytes(row.payload)) for row in tx.execute(statement)]


# --- tasks ------------------------------------------------------------------------------------------------------


def insert_task(tx: Tx, order: KnownOrder, now_ms: int) -> None:
    drop_off = None if order.destination is None else order.destination.place
    tx.execute(
        sa.insert(tasks).values(
            id=order.order_id,
            customer_id=order.customer_id,
            merchant_id=order.merchant_id,
            status=BEGINNING,
            version=1,
            drop_off_latitude=None if drop_off is None else drop_off.latitude,
            drop_off_longitude=None if drop_off is None else drop_off.longitude,
            destination=None if order.destination is None else _encode(order.destination).decode(),
            priority=0,
            urgent=False,
            created_ms=now_ms,
            changed_ms=now_ms,
        )
    )
    _record(tx, order.order_id, 1, None, BEGINNING, "orders", "paid", None, now_ms)


def find(tx: Tx, task_id: int) -> Task | None:
    row = tx.execute(sa.select(tasks).where(tasks.c.id == task_id)).first()
    return None if row is None else task_of(row)


def find_many(tx: Tx, task_ids: Iterable[int]) -> list[Task]:
    found: list[Task] = []
    for some in _some_at_a_time(sorted(set(task_ids))):
        statement = sa.select(tasks).where(tasks.c.id.in_(some)).order_by(tasks.c.id)
        found += [task_of(row) for row in tx.execute(statement)]
    return found


def locked(tx: Tx, task_id: int) -> Task | None:
    """As it is, and stays until the end of the transaction."""
    lock(tx, [task_id])
    return find(tx, task_id)


def move(
    tx: Tx, task: Task, to: TaskStatus, *, who: Who, actor: str, cause: str, now_ms: int, **values: Any
) -> Task | None:
    """Moves a locked task that stands where `task` says; None: it does not. A step under way ends with the move."""
    check_move(task.status, to, who)
    moved = tx.execute(
        sa.update(tasks)
        .where(tasks.c.id == task.id, tasks.c.status == task.status, tasks.c.version == task.version)
        .values(
            status=to,
            version=task.version + 1,
            changed_ms=now_ms,
            step=None,
            step_ms=None,
            alarmed_ms=None,
            **values,
        )
        .returning(*tasks.c)
    ).first()
    if moved is None:
        return None
    courier_id = moved.courier_id if moved.courier_id is not None else task.courier_id
    _record(tx, task.id, task.version + 1, task.status, to, actor, cause, courier_id, now_ms)
    return task_of(moved)


def _record(
    tx: Tx,
    task_id: int,
    n: int,
    from_status: TaskStatus | None,
    to_status: TaskStatus,
    actor: str,
    cause: str,
    courier_id: int | None,
    now_ms: int,
) -> None:
    tx.execute(
        sa.insert(moves).values(
            task_id=task_id,
            n=n,
            at_ms=now_ms,
            from_status=from_status,
            to_status=to_status,
            actor=actor,
            cause=cause,
            courier_id=courier_id,
        )
    )


def begin_step(tx: Tx, task: Task, step: Step, now_ms: int) -> None:
    """Notes what a courier has begun, before orders hear of it."""
    tx.execute(sa.update(tasks).where(tasks.c.id == task.id).values(step=step, step_ms=now_ms))


def touch_step(tx: Tx, task_id: int, now_ms: int) -> None:
    """The step is being carried on: the next try comes after the next pause."""
    tx.execute(sa.update(tasks).where(tasks.c.id == task_id, tasks.c.step.is_not(None)).values(step_ms=now_ms))


def steps_before(tx: Tx, before_ms: int, limit: int) -> list[Task]:
    statement = sa.select(tasks).where(tasks.c.step_ms.is_not(None), tasks.c.step_ms <= before_ms)
    return [task_of(row) for row in tx.execute(statement.order_by(tasks.c.step_ms).limit(limit))]


def put_priority(tx: Tx, task: Task, priority: int, *, urgent: bool) -> Task:
    """How a locked task weighs against others from the next round on."""
    changed = sa.update(tasks).where(tasks.c.id == task.id).values(priority=priority, urgent=urgent)
    return task_of(tx.execute(changed.returning(*tasks.c)).one())


def carried_by(tx: Tx, courier_id: int) -> list[Task]:
    statement = sa.select(tasks).where(tasks.c.courier_id == courier_id, _in(CARRIED)).order_by(tasks.c.id)
    return [task_of(row) for row in tx.execute(statement)]


def list_of_merchant(tx: Tx, merchant_id: int, status: TaskStatus, after: int, limit: int) -> list[Task]:
    """Oldest first: they have waited longest."""
    statement = sa.select(tasks).where(tasks.c.merchant_id == merchant_id, tasks.c.status == status, tasks.c.id > after)
    return [task_of(row) for row in tx.execute(statement.order_by(tasks.c.id).limit(limit))]


def _in(statuses: Sequence[TaskStatus]) -> sa.ColumnElement[bool]:
    """Literals, so that a partial index is known to apply."""
    return tasks.c.status.in_([sa.literal_column(f"'{status}'") for status in statuses])


def task_of(row: Any) -> Task:
    return Task(
        id=row.id,
        customer_id=row.customer_id,
        merchant_id=row.merchant_id,
        status=row.status,
        version=row.version,
        pick_up=place_of(row.pick_up_latitude, row.pick_up_longitude),
        drop_off=place_of(row.drop_off_latitude, row.drop_off_longitude),
        destination=None if row.destination is None else _destination(row.destination),
        priority=row.priority,
        urgent=row.urgent,
        courier_id=row.courier_id,
        step=row.step,
        created_ms=row.created_ms,
        changed_ms=row.changed_ms,
        ready_ms=row.ready_ms,
        picked_up_ms=row.picked_up_ms,
        delivered_ms=row.delivered_ms,
    )


def place_of(latitude: float | None, longitude: float | None) -> Place | None:
    return None if latitude is None or longitude is None else Place(latitude, longitude)


# --- who is not asked again, and where merchants are ------------------------------------------------------------


def exclude(tx: Tx, pairs: Iterable[tuple[int, int]], until_ms: int) -> None:
    """(task, courier): not asked again until then."""
    for task_id, courier_id in sorted(set(pairs)):
        row = {"task_id": task_id, "courier_id": courier_id, "until_ms": until_ms}
        statement = tx.insert(exclusions).values(row)
        key = ["task_id", "courier_id"]
        tx.execute(statement.on_conflict_do_update(index_elements=key, set_={"until_ms": until_ms}))


def forget_exclusions(tx: Tx, now_ms: int, limit: int) -> None:
    old = sa.select(exclusions.c.task_id, exclusions.c.courier_id).where(exclusions.c.until_ms <= now_ms).limit(limit)
    both = sa.tuple_(exclusions.c.task_id, exclusions.c.courier_id)
    tx.execute(sa.delete(exclusions).where(both.in_(old)))


def put_merchant_place(tx: Tx, merchant_id: int, place: Place, now_ms: int) -> None:
    values = {"latitude": place.latitude, "longitude": place.longitude, "changed_ms": now_ms}
    statement = tx.insert(merchant_places).values(merchant_id=merchant_id, **values)
    tx.execute(statement.on_conflict_do_update(index_elements=["merchant_id"], set_=values))


def merchant_place(tx: Tx, merchant_id: int) -> Place | None:
    row = tx.execute(sa.select(merchant_places).where(merchant_places.c.merchant_id == merchant_id)).first()
    return None if row is None else Place(row.latitude, row.longitude)
