"""The orders' rows, in batches. Every move is conditional on where the order stands, and recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from doorbuster.contexts.orders.model import BEGINNING, check_move
from doorbuster.contexts.orders.tables import lines, moves, orders
from doorbuster.contracts.audit import OrderFact
from doorbuster.contracts.orders import Line, Move, Order, Status
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Tx


def insert_missing(tx: Tx, new: Sequence[Order], actor: str, cause: str) -> None:
    """Writes those orders that do not exist yet, with their lines and the first move of their lives.

    Consumer and reader may come at the same time: whoever is second changes nothing.
    """
    tx.insert_all_if_absent(
        orders,
        [
            {
                "id": order.id,
                "customer_id": order.customer_id,
                "sale_id": order.sale_id,
                "status": BEGINNING,
                "version": 1,
                "total_amount": order.total.amount,
                "currency": order.total.currency,
                "created_ms": order.created_ms,
                "pay_by_ms": order.pay_by_ms,
            }
            for order in new
        ],
    )
    tx.insert_all_if_absent(
        lines,
        [
            {
                "order_id": order.id,
                "n": n,
                "sku_id": line.sku_id,
                "title": line.title,
                "quantity": line.quantity,
                "unit_amount": line.unit_price.amount,
            }
            for order in new
            for n, line in enumerate(order.lines, start=1)
        ],
    )
    tx.insert_all_if_absent(
        moves,
        [
            {
                "order_id": order.id,
                "n": 1,
                "at_ms": order.created_ms,
                "to_status": BEGINNING,
                "actor": actor,
                "cause": cause,
            }
            for order in new
        ],
    )


class Moved(NamedTuple):
    """An order that a move has just changed."""

    id: int
    version: int
    customer_id: int
    sale_id: int | None
    total: Money
    payment_id: int | None


def move(
    tx: Tx,
    order_ids: Sequence[int],
    from_status: Status,
    to_status: Status,
    *,
    actor: str,
    cause: str,
    now_ms: int,
    payment_id: int | None = None,
    due_by_ms: int | None = None,
) -> list[Moved]:
    """Moves those of the orders that stand at `from_status`; returns them.

    `payment_id` is set by the move if given; `due_by_ms` restricts it to orders whose time to pay is over then.
    """
    check_move(from_status, to_status)
    statement = sa.update(orders).where(orders.c.id.in_(order_ids), orders.c.status == from_status)
    if due_by_ms is not None:
        statement = statement.where(orders.c.pay_by_ms <= due_by_ms)
    values: dict[str, Any] = {"status": to_status, "version": orders.c.version + 1}
    if payment_id is not None:
        values["payment_id"] = payment_id
    changed = tx.execute(
        statement.values(**values).returning(
            orders.c.id,
            orders.c.version,
            orders.c.customer_id,
            orders.c.sale_id,
            orders.c.total_amount,
            orders.c.currency,
            orders.c.payment_id,
        )
    )
    moved = [
        Moved(row.id, row.version, row.customer_id, row.sale_id, Money(row.total_amount, row.currency), row.payment_id)
        for row in changed
    ]
    if moved:
        tx.execute(
            sa.insert(moves),
            [
                {
                    "order_id": order.id,
                    "n": order.version,
                    "at_ms": now_ms,
                    "from_status": from_status,
                    "to_status": to_status,
                    "actor": actor,
                    "cause": cause,
                }
                for order in moved
            ],
        )
    return moved


def find(tx: Tx, order_id: int) -> Order | None:
    """The order with its lines and history."""
    row = tx.execute(sa.select(orders).where(orders.c.id == order_id)).first()
    if row is None:
        return None
    history = tx.execute(sa.select(moves).where(moves.c.order_id == order_id).order_by(moves.c.n))
    steps = tuple(Move(step.at_ms, step.from_status, step.to_status, step.actor, step.cause) for step in history)
    return _order(row, _lines(tx, [row]).get(order_id, ()), steps)


def list_of(tx: Tx, customer_id: int, before: int, limit: int) -> list[Order]:
    """A customer's newest orders with ids below `before`, without history."""
    rows = tx.execute(
        sa.select(orders)
        .where(orders.c.customer_id == customer_id, orders.c.id < before)
        .order_by(orders.c.id.desc())
        .limit(limit)
    ).all()
    lines_of = _lines(tx, rows)
    return [_order(row, lines_of.get(row.id, ())) for row in rows]


def _lines(tx: Tx, order_rows: Sequence[Any]) -> dict[int, tuple[Line, ...]]:
    currency = {row.id: row.currency for row in order_rows}
    if not currency:
        return {}
    found: dict[int, tuple[Line, ...]] = {}
    statement = sa.select(lines).where(lines.c.order_id.in_(list(currency))).order_by(lines.c.order_id, lines.c.n)
    for row in tx.execute(statement):
        line = Line(row.sku_id, row.title, row.quantity, Money(row.unit_amount, currency[row.order_id]))
        found[row.order_id] = (*found.get(row.order_id, ()), line)
    return found


def _order(row: Any, order_lines: tuple[Line, ...], history: tuple[Move, ...] = ()) -> Order:
    return Order(
        id=row.id,
        customer_id=row.customer_id,
        sale_id=row.sale_id,
        status=row.status,
        lines=order_lines,
        total=Money(row.total_amount, row.currency),
        created_ms=row.created_ms,
        pay_by_ms=row.pay_by_ms,
        payment_id=row.payment_id,
        history=history,
    )


class Due(NamedTuple):
    pay_by_ms: int
    id: int


def due(tx: Tx, now_ms: int, after: Due, limit: int) -> list[Due]:
    """Unpaid orders whose time to pay is over, in order of their deadlines, behind `after`."""
    statement = (
        sa.select(orders.c.pay_by_ms, orders.c.id)
        # A literal, so that the partial index is known to apply.
        .where(orders.c.status == sa.literal_column("'pending_payment'"), orders.c.pay_by_ms <= now_ms)
        .where(sa.tuple_(orders.c.pay_by_ms, orders.c.id) > sa.tuple_(after.pay_by_ms, after.id))
        .order_by(orders.c.pay_by_ms, orders.c.id)
        .limit(limit)
    )
    return [Due(*row) for row in tx.execute(statement)]


def page_of_facts(tx: Tx, after: int, limit: int) -> list[OrderFact]:
    """The orders with ids above `after`, ascending."""
    return _facts(tx, sa.select(orders).where(orders.c.id > after).order_by(orders.c.id).limit(limit))


def facts_of(tx: Tx, order_ids: Sequence[int]) -> list[OrderFact]:
    return _facts(tx, sa.select(orders).where(orders.c.id.in_(order_ids)).order_by(orders.c.id))


def _facts(tx: Tx, statement: sa.Select[Any]) -> list[OrderFact]:
    return [
        OrderFact(
            row.id,
            row.customer_id,
            row.status,
            Money(row.total_amount, row.currency),
            row.payment_id,
            row.sale_id is not None,
        )
        for row in tx.execute(statement)
    ]
