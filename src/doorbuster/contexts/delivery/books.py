"""Delivery proves its own books: every task stands where its moves have led it, and nobody is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.delivery.model import BEGINNING, CARRIED, MOVES
from doorbuster.contexts.delivery.tables import couriers, moves, offers, shipments, tasks
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.settings.tree import DeliverySettings
from doorbuster.platform.sql.database import Tx

FORGOTTEN_MS = 5 * 60_000
"""How far behind its time something is a breach: the sweeper runs each second."""


def checks(tx: Tx, now_ms: int, settings: DeliverySettings) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [
        _status_is_last_move(tx),
        _moves_are_legal(tx),
        _offers_are_exclusive(tx),
        _picked_up_before_delivered(tx),
        _loads_count(tx),
        _nothing_is_forgotten(tx, now_ms, settings),
    ]


def _status_is_last_move(tx: Tx) -> Check:
    last = sa.and_(moves.c.task_id == tasks.c.id, moves.c.n == tasks.c.version)
    wrong = tx.execute(
        sa.select(tasks.c.id, tasks.c.status, moves.c.to_status)
        .select_from(tasks.outerjoin(moves, last))
        .where(sa.or_(moves.c.to_status.is_(None), moves.c.to_status != tasks.c.status))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"task {row.id} is {row.status}, its last move led to {row.to_status}" for row in wrong]
    count = tx.execute(sa.select(sa.func.count()).select_from(tasks)).scalar_one()
    return _check("task status = last recorded move", f"{count} tasks", breaches)


def _moves_are_legal(tx: Tx) -> Check:
    """Each move exists in the table, and begins where the one before it ended."""
    before = moves.alias("before")
    legal = [
        sa.and_(moves.c.from_status == start, moves.c.to_status.in_(sorted(ends)))
        for start, ends in MOVES.items()
        if ends
    ]
    begins = sa.and_(moves.c.n == 1, moves.c.from_status.is_(None), moves.c.to_status == BEGINNING)
    follows = sa.and_(sa.or_(*legal), before.c.to_status == moves.c.from_status)
    at_before = sa.and_(before.c.task_id == moves.c.task_id, before.c.n == moves.c.n - 1)
    wrong = tx.execute(
        sa.select(moves)
        .select_from(moves.outerjoin(before, at_before))
        .where(sa.not_(sa.func.coalesce(sa.or_(begins, follows), sa.false())))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"task {row.task_id}, move {row.n}: {row.from_status} → {row.to_status}" for row in wrong]
    return _check("every delivery move is legal", "each begins where the last one ended", breaches)


def _offers_are_exclusive(tx: Tx) -> Check:
    is_open = offers.c.status == "open"
    breaches: list[str] = []
    for what, column in (("courier", offers.c.courier_id), ("task", offers.c.task_id)):
        several = tx.execute(
            sa.select(column.label("id")).where(is_open).group_by(column).having(sa.func.count() > 1)
        ).scalars()
        breaches += [f"{what} {each} has several open offers" for each in several]
    pointless = tx.execute(
        sa.select(offers.c.id)
        .select_from(offers.outerjoin(tasks, tasks.c.id == offers.c.task_id))
        .where(is_open, sa.func.coalesce(tasks.c.status, "") != "ready")
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"offer {each} is open, its task is not" for each in pointless]
    return _check("offers are exclusive", "one open per courier and task, for ready tasks", breaches)


def _picked_up_before_delivered(tx: Tx) -> Check:
    """By the same courier, in the moves."""
    fetched = sa.exists().where(
        moves.c.task_id == tasks.c.id, moves.c.to_status == "picked_up", moves.c.courier_id == tasks.c.courier_id
    )
    wrong = tx.execute(
        sa.select(tasks.c.id).where(tasks.c.status == "delivered", sa.not_(fetched)).limit(BREACHES_SHOWN)
    ).scalars()
    breaches = [f"task {each} was delivered by somebody who never picked it up" for each in wrong]
    return _check("what is delivered was picked up", "by the same courier", breaches)


def _loads_count(tx: Tx) -> Check:
    truly = (
        sa.select(tasks.c.courier_id, sa.func.count().label("load"))
        .where(tasks.c.status.in_(CARRIED))
        .group_by(tasks.c.courier_id)
        .subquery()
    )
    wrong = tx.execute(
        sa.select(couriers.c.id, couriers.c.load, truly.c.load.label("truly"))
        .select_from(couriers.outerjoin(truly, truly.c.courier_id == couriers.c.id))
        .where(sa.func.coalesce(truly.c.load, 0) != couriers.c.load)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"courier {row.id} carries {row.truly or 0} tasks, counted {row.load}" for row in wrong]
    return _check("couriers' loads are counted right", "what is assigned and not delivered", breaches)


def _nothing_is_forgotten(tx: Tx, now_ms: int, settings: DeliverySettings) -> Check:
    late_ms = now_ms - FORGOTTEN_MS
    resume_ms = late_ms - settings.resume_after_s * 1000
    under_way = sa.not_(tasks.c.status.in_(("delivered", "cancelled")))
    unseen = sa.and_(
        under_way, tasks.c.alarmed_ms.is_(None), tasks.c.changed_ms < late_ms - settings.alarm_after_s * 1000
    )
    expired = sa.and_(offers.c.status == "open", offers.c.expires_ms < late_ms)
    # A step that was begun is tried again and again while orders are away: by its last try.
    begun = tasks.c.step_ms < resume_ms
    sending = sa.and_(shipments.c.status == "sending", shipments.c.changed_ms < resume_ms)
    looks: list[tuple[str, sa.Select[tuple[int]]]] = [
        ("task {} stands still and nobody was told", sa.select(tasks.c.id).where(unseen)),
        ("offer {} is open far beyond its time", sa.select(offers.c.id).where(expired)),
        ("the step of task {} was not carried on", sa.select(tasks.c.id).where(begun)),
        ("the sending of order {} was not carried on", sa.select(shipments.c.order_id).where(sending)),
    ]
    breaches = [
        words.format(each) for words, look in looks for each in tx.execute(look.limit(BREACHES_SHOWN)).scalars()
    ]
    return _check("no delivery is forgotten", "found by query", breaches)


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
