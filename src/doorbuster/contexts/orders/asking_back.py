"""Money of an order's own payment that is asked back, whole or in part. Guarded by the database, recorded, told.

The rows are the truth of what was asked: their sum is the order's `refunded_amount`, which its check keeps within the
total. Payments give back once per (payment, cause).
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from msgspec.structs import replace

from doorbuster.contexts.orders.model import REFUNDABLE, RefundLine, units_of
from doorbuster.contexts.orders.tables import orders, refund_lines, refunds
from doorbuster.contracts.audit import OrderFact
from doorbuster.contracts.orders import RefundRequested
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Tx


def reserve(tx: Tx, order_id: int, amount: int) -> int | None:
    """Counts `amount` as asked back if the order stands and has so much left; returns the sum. None: it does not.

    Takes the order's lock: what is read afterwards in this transaction stays as it is.
    """
    changed = tx.execute(
        sa.update(orders)
        .where(
            orders.c.id == order_id,
            orders.c.status.in_(REFUNDABLE),
            orders.c.refunded_amount + amount <= orders.c.total_amount,
        )
        .values(refunded_amount=orders.c.refunded_amount + amount)
        .returning(orders.c.refunded_amount)
    ).first()
    return None if changed is None else changed.refunded_amount


def record(
    tx: Tx,
    order_id: int,
    payment_id: int,
    amount: Money,
    cause: str | None,
    *,
    reason: str,
    actor: str,
    now_ms: int,
    restock: bool = False,
    lines: Sequence[RefundLine] = (),
) -> tuple[int, RefundRequested]:
    """Writes a refund down that was reserved; its number and what payments are told. `cause` None: "refund <n>"."""
    n = (tx.execute(_count(order_id)).scalar_one() or 0) + 1
    cause = cause or f"refund {n}"
    tx.execute(
        sa.insert(refunds).values(
            order_id=order_id,
            n=n,
            amount=amount.amount,
            cause=cause,
            reason=reason,
            actor=actor,
            restock=restock,
            at_ms=now_ms,
        )
    )
    if lines:
        tx.execute(
            sa.insert(refund_lines),
            [{"order_id": order_id, "refund": n, "line": line.n, "quantity": line.quantity} for line in lines],
        )
    return n, RefundRequested(order_id, payment_id, amount, cause)


def _count(order_id: int) -> sa.Select[int]:
    return sa.select(sa.func.max(refunds.c.n)).where(refunds.c.order_id == order_id)


def ask_back_rest(
    tx: Tx, order_id: int, payment_id: int, rest: Money, cause: str, *, actor: str, now_ms: int
) -> list[RefundRequested]:
    """Asks back what is left of an order that was moved to `refunding` in this transaction."""
    if not rest.amount:
        return []
    tx.execute(
        sa.update(orders).where(orders.c.id == order_id).values(refunded_amount=orders.c.refunded_amount + rest.amount)
    )
    _, told = record(tx, order_id, payment_id, rest, cause, reason=cause, actor=actor, now_ms=now_ms)
    return [told]


def refunded_units(tx: Tx, order_id: int, *, restocked_only: bool = False) -> dict[int, int]:
    """Units refunded so far (or of them those that are back in stock), by line number."""
    statement = (
        sa.select(refund_lines.c.line, sa.func.sum(refund_lines.c.quantity).label("quantity"))
        .join(refunds, sa.and_(refunds.c.order_id == refund_lines.c.order_id, refunds.c.n == refund_lines.c.refund))
        .where(refund_lines.c.order_id == order_id)
        .group_by(refund_lines.c.line)
    )
    if restocked_only:
        statement = statement.where(refunds.c.restock)
    return {row.line: int(row.quantity) for row in tx.execute(statement)}


def less_returned(tx: Tx, facts: Sequence[OrderFact]) -> Sequence[OrderFact]:
    """The same orders without the units that are back in stock. The facts have a line for each line of their order."""
    returned: dict[int, dict[int, int]] = {}
    statement = (
        sa.select(refund_lines.c.order_id, refund_lines.c.line, refund_lines.c.quantity)
        .join(refunds, sa.and_(refunds.c.order_id == refund_lines.c.order_id, refunds.c.n == refund_lines.c.refund))
        .where(refund_lines.c.order_id.in_([fact.order_id for fact in facts]), refunds.c.restock)
    )
    for row in tx.execute(statement):
        of_order = returned.setdefault(row.order_id, {})
        of_order[row.line] = of_order.get(row.line, 0) + row.quantity
    return [
        replace(fact, lines=units_of(fact.lines, returned[fact.order_id])) if fact.order_id in returned else fact
        for fact in facts
    ]


def succeed(tx: Tx, order_id: int, cause: str, now_ms: int) -> int | None:
    """Notes that the money of this refund is back; its number. None: there is no such refund, or it was known."""
    row = tx.execute(
        sa.update(refunds)
        .where(refunds.c.order_id == order_id, refunds.c.cause == cause, refunds.c.succeeded_ms.is_(None))
        .values(succeeded_ms=now_ms)
        .returning(refunds.c.n)
    ).first()
    return None if row is None else row.n
