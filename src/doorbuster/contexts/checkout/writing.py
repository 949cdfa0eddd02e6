"""The hot transaction: a batch of new carts, changed carts (ordered ones with their checkouts) and placed checkouts.

Every write states what it starts from (a cart's version, a checkout's stage) and the database applies it only there;
what it did not apply is told, and the caller looks again. On PostgreSQL a batch is one statement.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from doorbuster.contexts.checkout import redeeming
from doorbuster.contexts.checkout.model import Cart, Checkout
from doorbuster.platform.sql.database import Row, Tx

_encode = msgspec.json.Encoder().encode


class Create(Struct, frozen=True, gc=False):
    """A new cart. Not applied if its owner has used `key` before."""

    cart: Cart
    key: str | None = None
    digest: bytes | None = None


class Change(Struct, frozen=True, gc=False):
    """A cart as it shall be. Applied if the row is open and one version behind.

    With the `checkout` that orders it, due at `due_ms`: both are written, or neither.
    """

    cart: Cart
    checkout: Checkout | None = None
    due_ms: int = 0


class Placed(Struct, frozen=True, gc=False):
    """A checkout whose order is written. Applied if it is placing."""

    order_id: int


Op = Create | Change | Placed


def commit_batch(tx: Tx, ops: Sequence[Op], now_ms: int) -> list[bool | Exception]:
    """For each op whether it was applied, or why its coupon cannot be redeemed (then nothing of it was written).

    Of several ops for one cart the first is applied: the others start from what it has changed.
    """
    # By type and not by isinstance, which asks msgspec's abstract metaclass: 14 times per order.
    creates = [op for op in ops if type(op) is Create]
    asked = [op for op in ops if type(op) is Change]
    placed = [op for op in ops if type(op) is Placed]
    refused = redeeming.refusals(tx, [op.checkout for op in asked if op.checkout is not None])
    changes: dict[int, Change] = {}
    for op in asked:
        if op.checkout is None or op.checkout.id not in refused:
            changes.setdefault(op.cart.id, op)
    write = _write_sqlite if tx.dialect == "sqlite" else _write_postgres
    carts, orders = write(tx, creates, list(changes.values()), placed, now_ms)
    redeeming.redeem(tx, [op.checkout for at, op in changes.items() if op.checkout and at in carts], now_ms)

    def outcome(op: Op) -> bool | Exception:
        if type(op) is Placed:
            return op.order_id in orders
        if type(op) is Create:
            return op.cart.id in carts
        assert type(op) is Change
        if op.checkout is not None and op.checkout.id in refused:
            return refused[op.checkout.id]
        return changes[op.cart.id] is op and op.cart.id in carts

    return [outcome(op) for op in ops]


def checkout_row(checkout: Checkout, due_ms: int) -> tuple[Any, ...]:
    """In the order of _CHECKOUT_COLUMNS."""
    return (
        checkout.id,
        checkout.cart_id,
        checkout.customer_id,
        checkout.key,
        checkout.digest,
        checkout.total.amount,
        checkout.total.currency,
        None if checkout.coupon is None else checkout.coupon.id,
        _encode(checkout.draft),
        due_ms,
        checkout.begun_ms,
    )


_CHECKOUT_COLUMNS = (
    "id, cart_id, customer_id, key, digest, total_amount, currency, coupon_id, draft, due_ms, begun_ms, status, attempt"
)

# --- SQLite -------------------------------------------------------------------------------------------------------

_CREATE_SQLITE = (
    "INSERT INTO carts (id, owner_id, key, digest, status, version, content, created_ms, updated_ms) "
    "VALUES (?, ?, ?, ?, 'open', 1, ?, ?, ?) ON CONFLICT (owner_id, key) DO NOTHING RETURNING id"
)
_CHANGE_SQLITE = (
    "UPDATE carts SET status = ?, version = version + 1, order_id = ?, content = ?, updated_ms = ? "
    "WHERE id = ? AND version = ? AND status = 'open' RETURNING id"
)
_BEGIN_SQLITE = f"INSERT INTO checkouts ({_CHECKOUT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'placing', 1)"  # noqa: S608 - columns
_PLACED_SQLITE = (
    "UPDATE checkouts SET status = 'placed', due_ms = NULL, ended_ms = ? WHERE id = ? AND status = 'placing' "
    "RETURNING id"
)


def _write_sqlite(
    tx: Tx, creates: Sequence[Create], changes: Sequence[Change], placed: Sequence[Placed], now_ms: int
) -> tuple[set[int], set[int]]:
    """Ids of the carts and of the checkouts that were written."""
    carts: list[Row] = []
    for op in creates:
        cart = op.cart
        content = _encode(cart.content)
        carts += tx.rows(_CREATE_SQLITE, cart.id, cart.owner_id, op.key, op.digest, content, now_ms, now_ms)
    for op in changes:
        cart = op.cart
        found = tx.rows(
            _CHANGE_SQLITE, cart.status, cart.order_id, _encode(cart.content), now_ms, cart.id, cart.version - 1
        )
        if found and op.checkout is not None:
            tx.rows(_BEGIN_SQLITE, *checkout_row(op.checkout, op.due_ms))
        carts += found
    orders = [row[0] for op in placed for row in tx.rows(_PLACED_SQLITE, now_ms, op.order_id)]
    return {row[0] for row in carts}, set(orders)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------
# One WITH per kind that the batch holds. An upsert always goes by its unique index, whatever a plan of the time when
# the table was small would do; the LATERAL ... LIMIT and the row's address keep the last one an index probe too.
# An upsert of a cart that was deleted meanwhile writes it anew, which is what its owner, who is at it, would want.

_CREATE = (
    "created AS (INSERT INTO carts (id, owner_id, key, digest, status, version, content, created_ms, updated_ms) "
    "SELECT n.id, n.owner_id, n.key, n.digest, 'open', 1, n.content, $1::bigint, $1::bigint "
    "FROM unnest({}::bigint[], {}::bigint[], {}::text[], {}::bytea[], {}::bytea[]) "
    "AS n(id, owner_id, key, digest, content) ON CONFLICT (owner_id, key) DO NOTHING RETURNING id)"
)
_CHANGE = (
    "changed AS (INSERT INTO carts (id, owner_id, status, version, order_id, content, created_ms, updated_ms) "
    "SELECT n.*, $1::bigint FROM unnest({}::bigint[], {}::bigint[], {}::text[], {}::bigint[], {}::bigint[], "
    "{}::bytea[], {}::bigint[]) AS n "
    "ON CONFLICT (id) DO UPDATE SET status = excluded.status, version = excluded.version, "
    "order_id = excluded.order_id, content = excluded.content, updated_ms = excluded.updated_ms "
    "WHERE carts.version = excluded.version - 1 AND carts.status = 'open' RETURNING id)"
)
_BEGIN = (
    f"begun AS (INSERT INTO checkouts ({_CHECKOUT_COLUMNS}) SELECT n.*, 'placing', 1 "  # noqa: S608 - columns
    "FROM unnest({}::bigint[], {}::bigint[], {}::bigint[], {}::text[], {}::bytea[], {}::bigint[], {}::text[], "
    "{}::bigint[], {}::bytea[], {}::bigint[], {}::bigint[]) "
    "AS n(id, cart_id, customer_id, key, digest, total_amount, currency, coupon_id, draft, due_ms, begun_ms) "
    "WHERE n.cart_id IN (SELECT id FROM changed))"
)
_PLACE = (
    "placed AS (UPDATE checkouts c SET status = 'placed', due_ms = NULL, ended_ms = $1::bigint "
    "FROM unnest({}::bigint[]) AS n(id) "
    "CROSS JOIN LATERAL (SELECT k.ctid FROM checkouts k WHERE k.id = n.id LIMIT 1) AS l "
    "WHERE c.ctid = l.ctid AND c.status = 'placing' RETURNING c.id)"
)
_PARTS = ((_CREATE, 5, "created"), (_CHANGE, 7, "changed"), (_BEGIN, 11, None), (_PLACE, 1, "placed"))


@lru_cache(16)
def statement_of(kinds: tuple[bool, ...]) -> str:
    """The statement for a batch that holds creates, changes, begins and placed ones, or not."""
    parts: list[str] = []
    results: list[str] = []
    number = 2
    for (sql, count, result), there in zip(_PARTS, kinds, strict=True):
        if there:
            parts.append(sql.format(*(f"${at}" for at in range(number, number + count))))
            number += count
            if result is not None:
                results.append(f"SELECT {'true' if result == 'placed' else 'false'}, id FROM {result}")  # noqa: S608 - ours
    return f"WITH {', '.join(parts)} {' UNION ALL '.join(results)}"


def _write_postgres(
    tx: Tx, creates: Sequence[Create], changes: Sequence[Change], placed: Sequence[Placed], now_ms: int
) -> tuple[set[int], set[int]]:
    """Ids of the carts and of the checkouts that were written."""
    begins = [checkout_row(op.checkout, op.due_ms) for op in changes if op.checkout is not None]
    kinds = (bool(creates), bool(changes), bool(begins), bool(placed))
    if not any(kinds):
        return set(), set()
    parameters: list[Any] = [now_ms]
    if creates:
        parameters += _columns([_create_row(op) for op in creates])
    if changes:
        # In order of id, as everything locks carts.
        parameters += _columns([_change_row(op.cart) for op in sorted(changes, key=_cart_id)])
    if begins:
        parameters += _columns(begins)
    if placed:
        parameters.append(sorted(op.order_id for op in placed))
    carts: set[int] = set()
    orders: set[int] = set()
    for is_order, found in tx.rows(statement_of(kinds), *parameters):
        (orders if is_order else carts).add(found)
    return carts, orders


def _cart_id(op: Change) -> int:
    return op.cart.id


def _create_row(op: Create) -> tuple[Any, ...]:
    return (op.cart.id, op.cart.owner_id, op.key, op.digest, _encode(op.cart.content))


def _change_row(cart: Cart) -> tuple[Any, ...]:
    return (
        cart.id,
        cart.owner_id,
        cart.status,
        cart.version,
        cart.order_id,
        _encode(cart.content),
        cart.created_ms,
    )


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True))
