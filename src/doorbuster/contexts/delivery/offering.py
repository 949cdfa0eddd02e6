"""Offers: a courier is asked for a task, and nobody else, for a while. All of it under the locks of the orders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from doorbuster.contexts.delivery import couriers as courier_rows
from doorbuster.contexts.delivery import store
from doorbuster.contexts.delivery.dispatching import FreeCourier, OpenTask, Proposal
from doorbuster.contexts.delivery.model import Courier, Offer, Task, day_of
from doorbuster.contexts.delivery.tables import couriers, exclusions, offers, tasks
from doorbuster.contracts.delivery import CourierCalledOff, OfferMade, OfferStatus
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx

# A literal, so that the partial indexes are known to apply.
_OPEN = sa.text("offers.status = 'open'")
_COLUMNS = [offers.c[name] for name in Offer.__struct_fields__]


def find(tx: Tx, offer_id: int) -> Offer | None:
    row = tx.execute(sa.select(*_COLUMNS).where(offers.c.id == offer_id)).first()
    return None if row is None else Offer(*row)


def open_of_courier(tx: Tx, courier_id: int) -> Offer | None:
    row = tx.execute(sa.select(*_COLUMNS).where(offers.c.courier_id == courier_id, _OPEN)).first()
    return None if row is None else Offer(*row)


def end(tx: Tx, offer_id: int, status: OfferStatus, now_ms: int) -> bool:
    """Ends an open offer; False: it is not open any more."""
    ended = tx.execute(sa.update(offers).where(offers.c.id == offer_id, _OPEN).values(status=status, ended_ms=now_ms))
    return ended.rowcount == 1


def withdraw(tx: Tx, task_id: int, now_ms: int) -> None:
    """The task's open offer, if there is one; its courier is told."""
    open_one = sa.update(offers).where(offers.c.task_id == task_id, _OPEN)
    ended = tx.execute(open_one.values(status="withdrawn", ended_ms=now_ms).returning(offers.c.courier_id))
    emit(tx, [CourierCalledOff(task_id, courier_id) for courier_id in ended.scalars()], now_ms)


def due(tx: Tx, now_ms: int, limit: int) -> list[Offer]:
    """Open offers whose time is over, oldest first."""
    statement = sa.select(*_COLUMNS).where(_OPEN, offers.c.expires_ms <= now_ms)
    return [Offer(*row) for row in tx.execute(statement.order_by(offers.c.expires_ms).limit(limit))]


def expire(tx: Tx, late: Sequence[Offer], now_ms: int, excluded_until_ms: int) -> int:
    """Ends those of the offers that are still open; who did not answer is not asked again for a while."""
    store.lock(tx, [offer.task_id for offer in late])
    ended = [offer for offer in late if end(tx, offer.id, "expired", now_ms)]
    store.exclude(tx, [(offer.task_id, offer.courier_id) for offer in ended], excluded_until_ms)
    return len(ended)


def open_tasks(tx: Tx, now_ms: int, limit: int) -> list[OpenTask]:
    """Ready, and nobody is asked for them: urgent ones first, then those that have waited longest."""
    asked = sa.exists().where(offers.c.task_id == tasks.c.id, _OPEN)
    statement = (
        sa.select(tasks)
        .where(tasks.c.status == sa.literal_column("'ready'"), sa.not_(asked))
        .order_by(tasks.c.urgent.desc(), tasks.c.ready_ms, tasks.c.id)
        .limit(limit)
    )
    found = [store.task_of(row) for row in tx.execute(statement)]
    not_again = _excluded(tx, now_ms)
    return [_open_task(task, not_again.get(task.id, frozenset())) for task in found]


def _open_task(task: Task, excluded: frozenset[int]) -> OpenTask:
    assert task.pick_up is not None, "a ready task is somewhere, by a check of the database"
    assert task.ready_ms is not None, "and ready since some time"
    return OpenTask(
        task_id=task.id,
        pick_up=task.pick_up,
        # Without a place the courier has the address; for the choice of a courier it counts as near.
        drop_off=task.drop_off or task.pick_up,
        ready_ms=task.ready_ms,
        waiting_since_ms=task.created_ms,
        urgent=task.urgent,
        priority=task.priority,
        excluded=excluded,
    )


def _excluded(tx: Tx, now_ms: int) -> dict[int, frozenset[int]]:
    by_task: dict[int, set[int]] = {}
    still_open = sa.select(tasks.c.id).where(tasks.c.status == sa.literal_column("'ready'"))
    statement = sa.select(exclusions).where(exclusions.c.until_ms > now_ms, exclusions.c.task_id.in_(still_open))
    for row in tx.execute(statement):
        by_task.setdefault(row.task_id, set()).add(row.courier_id)
    return {task_id: frozenset(who) for task_id, who in by_task.items()}


def free_couriers(tx: Tx, now_ms: int, fresh_since_ms: int, load_max: int, limit: int) -> list[FreeCourier]:
    """Online, heard of lately, nobody asks them, and they may carry more; who has been idle longest first."""
    asked = sa.exists().where(offers.c.courier_id == couriers.c.id, _OPEN)
    statement = (
        sa.select(couriers)
        .where(
            couriers.c.online,
            couriers.c.position_ms >= fresh_since_ms,
            couriers.c.latitude.is_not(None),
            couriers.c.load < load_max,
            sa.not_(asked),
        )
        .order_by(couriers.c.idle_since_ms, couriers.c.id)
        .limit(limit)
    )
    found = [courier_rows.courier_of(row) for row in tx.execute(statement)]
    return [_free_courier(courier, day_of(now_ms)) for courier in found]


def _free_courier(courier: Courier, today: int) -> FreeCourier:
    assert courier.at is not None, "asked for in the query"
    delivered = courier.delivered_today if courier.day == today else 0
    return FreeCourier(courier.id, courier.at, courier.load, courier.idle_since_ms, delivered)


def make(tx: Tx, proposals: Sequence[tuple[int, Proposal]], now_ms: int, expires_ms: int, load_max: int) -> list[Offer]:
    """Makes those offers (with these ids) that are still right: what another round or a courier was faster with, or
    what was cancelled meanwhile, is simply not made. Returns those made."""
    store.lock(tx, [proposal.task_id for _, proposal in proposals])
    there = courier_rows.locked_all(tx, [proposal.courier_id for _, proposal in proposals])
    ready = {
        task.id: task
        for task in store.find_many(tx, [proposal.task_id for _, proposal in proposals])
        if task.status == "ready"
    }
    wanted = [
        Offer(offer_id, proposal.task_id, proposal.courier_id, "open", now_ms, expires_ms, proposal.distance_m)
        for offer_id, proposal in proposals
        if proposal.task_id in ready and _may_be_asked(there.get(proposal.courier_id), load_max)
    ]
    tx.insert_all_if_absent(offers, [_row(offer) for offer in wanted])
    made_ids = _those_made(tx, [offer.id for offer in wanted])
    made = [offer for offer in wanted if offer.id in made_ids]
    told: list[OfferMade] = []
    for offer in made:
        pick_up = ready[offer.task_id].pick_up
        assert pick_up is not None, "a ready task is somewhere, by a check of the database"
        told.append(OfferMade(offer.id, offer.task_id, offer.courier_id, expires_ms, pick_up))
    emit(tx, told, now_ms)
    return made


def _may_be_asked(courier: Courier | None, load_max: int) -> bool:
    return courier is not None and courier.online and courier.load < load_max


def _row(offer: Offer) -> dict[str, Any]:
    return {name: getattr(offer, name) for name in Offer.__struct_fields__}


def _those_made(tx: Tx, offer_ids: Iterable[int]) -> set[int]:
    ids, found = list(offer_ids), set[int]()
    for start in range(0, len(ids), 500):
        found.update(tx.execute(sa.select(offers.c.id).where(offers.c.id.in_(ids[start : start + 500]))).scalars())
    return found
