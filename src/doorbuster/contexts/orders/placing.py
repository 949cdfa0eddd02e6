"""The hot transaction: a batch of orders with their lines, first moves and events, each once.

Statements are written for each dialect; the number of them does not grow with the batch on PostgreSQL.
"""
# ruff: noqa: S608 - the statements are put together from constants of this file

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from doorbuster.contexts.orders.model import BEGINNING
from doorbuster.contracts.orders import Order
from doorbuster.kernel.places import Destination
from doorbuster.platform.sql.database import Tx

_ORDER_COLUMNS = (
    "id, customer_id, merchant_id, sale_id, fulfilment, total_amount, shipping_amount, discount_amount, currency, "
    "created_ms, pay_by_ms, destination, contact_email, note"
)
_INSERT_SQLITE = (
    f"INSERT INTO orders ({_ORDER_COLUMNS}, status, version) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending_payment', 1) ON CONFLICT DO NOTHING RETURNING id"
)
_INSERT_POSTGRES = (
    f"INSERT INTO orders ({_ORDER_COLUMNS}, status, version) SELECT *, 'pending_payment', 1 FROM unnest("
    "$1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], "
    "$9::text[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::text[]) "
    "ON CONFLICT DO NOTHING RETURNING id"
)
_LINES_SQLITE = "INSERT INTO order_lines (order_id, n, sku_id, title, quantity, unit_amount) VALUES (?, ?, ?, ?, ?, ?)"
_LINES_POSTGRES = (
    "INSERT INTO order_lines (order_id, n, sku_id, title, quantity, unit_amount) "
    "SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[])"
)
_MOVES_SQLITE = (
    "INSERT INTO order_moves (order_id, n, at_ms, to_status, actor, cause) VALUES (?, 1, ?, 'pending_payment', ?, ?)"
)
_MOVES_POSTGRES = (
    "INSERT INTO order_moves (order_id, n, at_ms, to_status, actor, cause) "
    "SELECT o.id, 1, o.at_ms, 'pending_payment', $3::text, $4::text "
    "FROM unnest($1::bigint[], $2::bigint[]) AS o(id, at_ms)"
)
assert BEGINNING == "pending_payment", "as in the statements above"

_encode = msgspec.json.Encoder().encode


def destination_text(destination: Destination | None) -> str | None:
    return None if destination is None else _encode(destination).decode()


def insert_missing(tx: Tx, new: Sequence[Order], actor: str, cause: str) -> list[Order]:
    """Writes those orders that do not exist yet, with their lines and the first move of their lives; returns them.

    Consumer and reader may come at the same time: whoever is second changes nothing.
    """
    distinct = {order.id: order for order in new}
    rows = [_row(order) for order in distinct.values()]
    if not rows:
        return []
    if tx.dialect == "sqlite":
        inserted = {row[0] for values in rows for row in tx.rows(_INSERT_SQLITE, *values)}
    else:
        inserted = {row[0] for row in tx.rows(_INSERT_POSTGRES, *zip(*rows, strict=True))}
    fresh = [order for order in distinct.values() if order.id in inserted]
    if fresh:
        _insert_parts(tx, fresh, actor, cause)
    return fresh


def _row(order: Order) -> tuple[object, ...]:
    return (
        order.id,
        order.customer_id,
        order.merchant_id,
        order.sale_id,
        order.fulfilment,
        order.total.amount,
        order.shipping.amount,
        order.discount.amount,
        order.total.currency,
        order.created_ms,
        order.pay_by_ms,
        destination_text(order.destination),
        order.contact_email,
        order.note,
    )


def _insert_parts(tx: Tx, orders: Sequence[Order], actor: str, cause: str) -> None:
    lines = [
        (order.id, n, line.sku_id, line.title, line.quantity, line.unit_price.amount)
        for order in orders
        for n, line in enumerate(order.lines, start=1)
    ]
    if tx.dialect == "sqlite":
        tx.run_many(_LINES_SQLITE, lines)
        tx.run_many(_MOVES_SQLITE, [(order.id, order.created_ms, actor, cause) for order in orders])
        return
    tx.rows(_LINES_POSTGRES, *zip(*lines, strict=True))
    tx.rows(_MOVES_POSTGRES, [order.id for order in orders], [order.created_ms for order in orders], actor, cause)
