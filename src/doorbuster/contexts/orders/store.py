"""The orders' rows, in batches. Every move is conditional on where the order stands, and recorded."""
# ruff: noqa: S608 - the statements are put together from constants of this file

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from msgspec import structs

from doorbuster.contexts.orders.model import SENT_OFF, Who, check_move, units_of
from doorbuster.contexts.orders.placing import destination_text
from doorbuster.contexts.orders.tables import moves, orders
from doorbuster.contracts.audit import OrderFact
from doorbuster.contracts.orders import Line, Move, Order, Status
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Destination
from doorbuster.platform.sql.database import Row, Tx


class Moved(NamedTuple):
    """An order that a move has just changed."""

    id: int
    version: int
    customer_id: int
    sale_id: int | None
    total: Money
    refunded: Money
    payment_id: int | None

    @property
    def rest(self) -> Money:
        """What was not asked back yet."""
        return Money(self.total.amount - self.refunded.amount, self.total.currency)


def move(
    tx: Tx,
    order_ids: Sequence[int],
    from_status: Status,
    to_status: Status,
    *,
    who: Who,
    actor: str,
    cause: str,
    now_ms: int,
    payment_id: int | None = None,
    due_by_ms: int | None = None,
) -> list[Moved]:
    """Moves those of the orders that stand at `from_status`; returns them.

    `payment_id` is set by the move if given; `due_by_ms` restricts it to orders whose time to pay is over then.
    """
    check_move(from_status, to_status, who)
    statement = sa.update(orders).where(orders.c.id.in_(order_ids), orders.c.status == from_status)
    if due_by_ms is not None:
        statement = statement.where(orders.c.pay_by_ms <= due_by_ms)
    values: dict[str, Any] = {"status": to_status, "version": orders.c.version + 1}
    if payment_id is not None:
        values["payment_id"] = payment_id
    if to_status in SENT_OFF.values():
        values["sent_off_ms"] = now_ms
    changed = tx.execute(
        statement.values(**values).returning(
            orders.c.id,
            orders.c.version,
            orders.c.customer_id,
            orders.c.sale_id,
            orders.c.total_amount,
            orders.c.refunded_amount,
            orders.c.currency,
            orders.c.payment_id,
        )
    )
    moved = [
        Moved(
            row.id,
            row.version,
            row.customer_id,
            row.sale_id,
            Money(row.total_amount, row.currency),
            Money(row.refunded_amount, row.currency),
            row.payment_id,
        )
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


_PAY_SQLITE = (
    "UPDATE orders SET status = 'paid', payment_id = ?, version = version + 1 "
    "WHERE id = ? AND status = 'pending_payment' RETURNING id, version"
)
_PAY_POSTGRES = (
    "UPDATE orders AS o SET status = 'paid', payment_id = p.payment_id, version = o.version + 1 "
    "FROM unnest($1::bigint[], $2::bigint[]) AS p(order_id, payment_id) "
    "WHERE o.id = p.order_id AND o.status = 'pending_payment' RETURNING o.id, o.version"
)
_PAID_MOVE_SQLITE = (
    "INSERT INTO order_moves (order_id, n, at_ms, from_status, to_status, actor, cause) "
    "VALUES (?, ?, ?, 'pending_payment', 'paid', 'payments', ?)"
)
_PAID_MOVES_POSTGRES = (
    "INSERT INTO order_moves (order_id, n, at_ms, from_status, to_status, actor, cause) "
    "SELECT m.order_id, m.n, $3::bigint, 'pending_payment', 'paid', 'payments', m.cause "
    "FROM unnest($1::bigint[], $2::bigint[], $4::text[]) AS m(order_id, n, cause)"
)


def pay(tx: Tx, payment_of: Mapping[int, int], now_ms: int) -> dict[int, Order]:
    """pending_payment → paid for those of the orders that stand there, each by its payment; as they are afterwards."""
    check_move("pending_payment", "paid", "payments")
    pairs = sorted(payment_of.items())
    if not pairs:
        return {}
    if tx.dialect == "postgres":
        changed = tx.rows(_PAY_POSTGRES, *zip(*pairs, strict=True))
    else:
        changed = [row for order_id, payment_id in pairs for row in tx.rows(_PAY_SQLITE, payment_id, order_id)]
    if not changed:
        return {}
    ids, numbers = [row[0] for row in changed], [row[1] for row in changed]
    causes = [f"payment {payment_of[order_id]}" for order_id in ids]
    if tx.dialect == "postgres":
        tx.rows(_PAID_MOVES_POSTGRES, ids, numbers, now_ms, causes)
    else:
        tx.run_many(_PAID_MOVE_SQLITE, list(zip(ids, numbers, [now_ms] * len(ids), causes, strict=True)))
    return {order.id: order for order in find_many(tx, ids)}


_COLUMNS = (
    "id, customer_id, merchant_id, sale_id, fulfilment, status, total_amount, shipping_amount, discount_amount, "
    "refunded_amount, currency, created_ms, pay_by_ms, payment_id, destination, contact_email, note"
)
_LINE_COLUMNS = "order_id, sku_id, title, quantity, unit_amount"


def find(tx: Tx, order_id: int) -> Order | None:
    """The order with its lines and history."""
    found = find_many(tx, [order_id])
    if not found:
        return None
    rows = tx.rows(
        f"SELECT at_ms, from_status, to_status, actor, cause FROM order_moves WHERE order_id = {_first(tx)} ORDER BY n",
        order_id,
    )
    return structs.replace(found[0], history=tuple(Move(*row) for row in rows))


def find_many(tx: Tx, order_ids: Sequence[int]) -> list[Order]:
    """Those that exist, with lines and without history, in order of id. Asked for with every payment: native."""
    if not order_ids:
        return []
    if tx.dialect == "postgres":
        # LATERAL ... LIMIT keeps the plan an index probe per order, whatever the statistics said when it was made.
        rows = tx.rows(
            "SELECT o.* FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL "
            f"(SELECT {_COLUMNS} FROM orders WHERE id = w.id LIMIT 1) AS o",
            sorted(set(order_ids)),
        )
        rows = sorted(rows, key=lambda row: row[0])
    else:
        one = f"SELECT {_COLUMNS} FROM orders WHERE id = ?"
        rows = [row for order_id in sorted(set(order_ids)) for row in tx.rows(one, order_id)]
    return _with_lines(tx, rows)


def _first(tx: Tx) -> str:
    return "$1" if tx.dialect == "postgres" else "?"


def _with_lines(tx: Tx, rows: Sequence[Row]) -> list[Order]:
    if not rows:
        return []
    if tx.dialect == "postgres":
        lines = tx.rows(
            "SELECT l.* FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL "
            f"(SELECT {_LINE_COLUMNS} FROM order_lines WHERE order_id = w.id ORDER BY n LIMIT 1000) AS l",
            [row[0] for row in rows],
        )
    else:
        of_one = f"SELECT {_LINE_COLUMNS} FROM order_lines WHERE order_id = ? ORDER BY n"
        lines = [line for row in rows for line in tx.rows(of_one, row[0])]
    lines_of: dict[int, list[Row]] = {}
    for line in lines:
        lines_of.setdefault(line[0], []).append(line)
    return [_order(row, lines_of.get(row[0], ())) for row in rows]


_destination = msgspec.json.Decoder(Destination).decode


def _order(row: Row, line_rows: Sequence[Row]) -> Order:
    (order_id, customer_id, merchant_id, sale_id, fulfilment, status, total, shipping, discount) = row[:9]
    (refunded, currency, created_ms, pay_by_ms, payment_id, destination, contact_email, note) = row[9:]
    return Order(
        id=order_id,
        customer_id=customer_id,
        merchant_id=merchant_id,
        sale_id=sale_id,
        fulfilment=fulfilment,
        status=status,
        lines=tuple(Line(line[1], line[2], line[3], Money(line[4], currency)) for line in line_rows),
        shipping=Money(shipping, currency),
        discount=Money(discount, currency),
        total=Money(total, currency),
        refunded=Money(refunded, currency),
        created_ms=created_ms,
        pay_by_ms=pay_by_ms,
        payment_id=payment_id,
        destination=None if destination is None else _destination(destination),
        contact_email=contact_email,
        note=note,
    )


def list_of(tx: Tx, customer_id: int, before: int, limit: int) -> list[Order]:
    """A customer's newest orders with ids below `before`, without history."""
    statement = sa.select(*_SELECTED).where(orders.c.customer_id == customer_id, orders.c.id < before)
    return _with_lines(tx, _plain(tx, statement.order_by(orders.c.id.desc()).limit(limit)))


def list_for_merchant(tx: Tx, merchant_id: int, status: Status, before: int, limit: int) -> list[Order]:
    """The newest orders with ids below `before` that a merchant fulfils and that stand at `status`."""
    statement = sa.select(*_SELECTED).where(
        orders.c.merchant_id == merchant_id, orders.c.status == status, orders.c.id < before
    )
    return _with_lines(tx, _plain(tx, statement.order_by(orders.c.id.desc()).limit(limit)))


_SELECTED = [orders.c[name] for name in _COLUMNS.split(", ")]


def _plain(tx: Tx, statement: sa.Executable) -> list[Row]:
    return [tuple(row) for row in tx.execute(statement)]


def set_destination(tx: Tx, order_id: int, destination: Destination) -> bool:
    """Until the order is sent off or given back. False: too late."""
    changed = tx.execute(
        sa.update(orders)
        .where(orders.c.id == order_id, orders.c.status.in_(("pending_payment", "paid")))
        .values(destination=destination_text(destination))
    )
    return changed.rowcount == 1


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


def shipped_before(tx: Tx, before_ms: int, limit: int) -> list[int]:
    """Parcels that have been under way since `before_ms` or longer, oldest first."""
    statement = (
        sa.select(orders.c.id)
        .where(orders.c.status == sa.literal_column("'shipped'"), orders.c.sent_off_ms <= before_ms)
        .order_by(orders.c.sent_off_ms)
        .limit(limit)
    )
    return list(tx.execute(statement).scalars())


def page_of_facts(tx: Tx, after: int, limit: int) -> list[OrderFact]:
    """The orders with ids above `after`, ascending."""
    statement = sa.select(*_SELECTED, orders.c.sent_off_ms).where(orders.c.id > after)
    return _facts(tx, statement.order_by(orders.c.id).limit(limit))


def facts_of(tx: Tx, order_ids: Sequence[int]) -> list[OrderFact]:
    statement = sa.select(*_SELECTED, orders.c.sent_off_ms).where(orders.c.id.in_(order_ids))
    return _facts(tx, statement.order_by(orders.c.id))


def _facts(tx: Tx, statement: sa.Executable) -> list[OrderFact]:
    rows = _plain(tx, statement)
    sent_off = {row[0]: row[-1] is not None for row in rows}
    return [
        OrderFact(
            order_id=order.id,
            customer_id=order.customer_id,
            status=order.status,
            total=order.total,
            payment_id=order.payment_id,
            sale_id=order.sale_id,
            lines=units_of(order.lines),
            refund_requested=order.refunded,
            sent_off=sent_off[order.id],
        )
        for order in _with_lines(tx, [row[:-1] for row in rows])
    ]
