"""Orders prove their own books: every order stands where its recorded moves have led it, by moves that exist."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.orders.model import BEGINNING, MOVES
from doorbuster.contexts.orders.tables import lines, moves, orders, refunds
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

FORGOTTEN_MS = 15 * 60_000
"""How far behind its deadline an unpaid order is a breach, even if the payment provider is away."""
OVERDUE_MS = 30_000
"""How far behind its deadline an unpaid order may be before the audit mentions it."""


def checks(tx: Tx, now_ms: int) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [
        _status_is_last_move(tx),
        _moves_are_legal(tx),
        _totals_add_up(tx),
        _refunds_add_up(tx),
        _deadlines_kept(tx, now_ms),
    ]


def _status_is_last_move(tx: Tx) -> Check:
    last = sa.and_(moves.c.order_id == orders.c.id, moves.c.n == orders.c.version)
    wrong = tx.execute(
        sa.select(orders.c.id, orders.c.status, moves.c.to_status)
        .select_from(orders.outerjoin(moves, last))
        .where(sa.or_(moves.c.to_status.is_(None), moves.c.to_status != orders.c.status))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"order {row.id} is {row.status}, its last move led to {row.to_status}" for row in wrong]
    beyond = tx.execute(
        sa.select(moves.c.order_id, moves.c.n, orders.c.version)
        .select_from(moves.outerjoin(orders, orders.c.id == moves.c.order_id))
        .where(sa.or_(orders.c.id.is_(None), moves.c.n > orders.c.version))
        .limit(BREACHES_SHOWN)
    )
    breaches += [
        f"order {row.order_id} does not exist, but has move {row.n}"
        if row.version is None
        else f"order {row.order_id} has move {row.n}, but stands at move {row.version}"
        for row in beyond
    ]
    count = tx.execute(sa.select(sa.func.count()).select_from(orders)).scalar_one()
    return _check("order status = last recorded move", f"{count} orders", breaches)


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
    wrong = tx.execute(
        sa.select(moves)
        .select_from(
            moves.outerjoin(before, sa.and_(before.c.order_id == moves.c.order_id, before.c.n == moves.c.n - 1))
        )
        .where(sa.not_(sa.func.coalesce(sa.or_(begins, follows), sa.false())))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"order {row.order_id}, move {row.n}: {row.from_status} → {row.to_status}" for row in wrong]
    return _check("every move is legal", "each begins where the last one ended", breaches)


def _totals_add_up(tx: Tx) -> Check:
    per_order = (
        sa.select(lines.c.order_id, sa.func.sum(lines.c.quantity * lines.c.unit_amount).label("total"))
        .group_by(lines.c.order_id)
        .subquery()
    )
    wrong = tx.execute(
        sa.select(orders.c.id, orders.c.total_amount, per_order.c.total)
        .select_from(orders.outerjoin(per_order, per_order.c.order_id == orders.c.id))
        .where(
            sa.func.coalesce(per_order.c.total + orders.c.shipping_amount - orders.c.discount_amount, -1)
            != orders.c.total_amount
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"order {row.id}: total {row.total_amount}, lines {row.total}" for row in wrong]
    return _check("order total = sum of its lines", "with shipping, less discount", breaches)


def _refunds_add_up(tx: Tx) -> Check:
    """What counts as asked back is the sum of the refunds, and all of it where an order is refunded."""
    per_order = (
        sa.select(refunds.c.order_id, sa.func.sum(refunds.c.amount).label("asked"))
        .group_by(refunds.c.order_id)
        .subquery()
    )
    asked = sa.func.coalesce(per_order.c.asked, 0)
    given_up = orders.c.status.in_(("refunding", "refunded"))
    wrong = tx.execute(
        sa.select(orders.c.id, orders.c.status, orders.c.refunded_amount, orders.c.total_amount, asked.label("asked"))
        .select_from(orders.outerjoin(per_order, per_order.c.order_id == orders.c.id))
        .where(
            sa.or_(
                asked != orders.c.refunded_amount,
                sa.and_(given_up, orders.c.refunded_amount != orders.c.total_amount),
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"order {row.id} ({row.status}): {row.refunded_amount} of {row.total_amount} asked back, "
        f"but {row.asked} in its refunds"
        for row in wrong
    ]
    return _check("refunds add up", "per order", breaches)


def _deadlines_kept(tx: Tx, now_ms: int) -> Check:
    overdue = tx.execute(
        sa.select(sa.func.count())
        .select_from(orders)
        .where(orders.c.status == sa.literal_column("'pending_payment'"), orders.c.pay_by_ms < now_ms - OVERDUE_MS)
    ).scalar_one()
    hopeless = tx.execute(
        sa.select(orders.c.id)
        .where(orders.c.status == sa.literal_column("'pending_payment'"), orders.c.pay_by_ms < now_ms - FORGOTTEN_MS)
        .limit(BREACHES_SHOWN)
    ).scalars()
    forgotten = [f"order {order_id} waits for a payment far beyond its deadline" for order_id in hopeless]
    late = "in flight" if overdue else "holds"
    return Check(
        "payment deadlines kept",
        "broken" if forgotten else late,
        f"{overdue} unpaid orders are more than {OVERDUE_MS // 1000} s past their deadline",
        tuple(forgotten),
    )


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
