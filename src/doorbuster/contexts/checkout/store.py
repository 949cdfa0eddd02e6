"""The checkout's rows: what is read, and what is written once in a while. The hot writes are in `writing`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from doorbuster.contexts.checkout import redeeming
from doorbuster.contexts.checkout.model import Cart, Checkout, Content
from doorbuster.contexts.checkout.tables import carts, checkouts
from doorbuster.contracts.checkout import CheckoutFact
from doorbuster.contracts.orders import OrderDraft
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Row, Tx

_encode = msgspec.json.Encoder().encode
_content = msgspec.json.Decoder(Content).decode
_draft = msgspec.json.Decoder(OrderDraft).decode
_ids = msgspec.json.Decoder(tuple[int, ...]).decode

# --- carts --------------------------------------------------------------------------------------------------------

_CART_COLUMNS = "id, owner_id, status, version, content, created_ms, order_id"


_BY_ID_SQLITE = f"SELECT {_CART_COLUMNS} FROM carts WHERE id = ?"  # noqa: S608 - columns
# LATERAL ... LIMIT keeps the plan an index probe per cart, whatever the statistics said when it was made.
_ONE_OF_THEM = f"SELECT {_CART_COLUMNS} FROM carts WHERE id = w.id LIMIT 1"  # noqa: S608 - columns
_BY_IDS_POSTGRES = f"SELECT c.* FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL ({_ONE_OF_THEM}) AS c"  # noqa: S608


def find_carts(tx: Tx, cart_ids: Sequence[int]) -> dict[int, Cart]:
    """Those that exist, by id."""
    if tx.dialect == "sqlite":
        rows = [row for cart_id in cart_ids for row in tx.rows(_BY_ID_SQLITE, cart_id)]
    else:
        rows = tx.rows(_BY_IDS_POSTGRES, list(cart_ids))
    return {row[0]: _cart(row) for row in rows}


def _cart(row: Row) -> Cart:
    cart_id, owner_id, status, version, content, created_ms, order_id = row
    return Cart(cart_id, owner_id, status, version, _content(content), created_ms, order_id)


_CART = [carts.c[name] for name in _CART_COLUMNS.split(", ")]


def cart_of_key(tx: Tx, owner_id: int, key: str) -> tuple[Cart, bytes] | None:
    """The cart that an idempotency key made, and the digest of what was asked then."""
    statement = sa.select(*_CART, carts.c.digest).where(carts.c.owner_id == owner_id, carts.c.key == key)
    row = tx.execute(statement).first()
    return None if row is None else (_cart(tuple(row)[:-1]), row.digest)


def open_carts_of(tx: Tx, owner_id: int, limit: int) -> list[Cart]:
    """The newest open carts of an owner."""
    statement = sa.select(*_CART).where(carts.c.owner_id == owner_id, carts.c.status == "open")
    return [_cart(tuple(row)) for row in tx.execute(statement.order_by(carts.c.id.desc()).limit(limit))]


def lock_open_carts_of(tx: Tx, owner_ids: Sequence[int], limit: int) -> dict[int, list[Cart]]:
    """The newest open carts of each of these owners, kept as they are until this transaction ends.

    Locked in ascending order over all owners, as everything locks carts. Without those that were closed meanwhile.
    """
    found = [cart.id for owner_id in owner_ids for cart in open_carts_of(tx, owner_id, limit)]
    still_open = sa.and_(carts.c.id.in_(found), carts.c.status == "open", carts.c.owner_id.in_(owner_ids))
    locked: dict[int, list[Cart]] = {owner_id: [] for owner_id in owner_ids}
    for row in tx.execute(sa.select(*_CART).where(still_open).order_by(carts.c.id).with_for_update()):
        cart = _cart(tuple(row))
        locked[cart.owner_id].insert(0, cart)
    return locked


def rewrite(tx: Tx, cart: Cart, now_ms: int) -> None:
    """Writes a cart that this transaction has locked."""
    tx.execute(
        sa.update(carts)
        .where(carts.c.id == cart.id)
        .values(version=cart.version, content=_encode(cart.content), updated_ms=now_ms)
    )


def hand_over(tx: Tx, cart: Cart, owner_id: int, now_ms: int) -> None:
    """A locked cart gets another owner, whose idempotency keys are not those of the first."""
    tx.execute(
        sa.update(carts)
        .where(carts.c.id == cart.id)
        .values(owner_id=owner_id, key=None, digest=None, version=cart.version + 1, updated_ms=now_ms)
    )


def close_merged(tx: Tx, cart: Cart, now_ms: int) -> None:
    """A locked cart whose lines are in another one now."""
    tx.execute(
        sa.update(carts)
        .where(carts.c.id == cart.id)
        .values(status="merged", version=cart.version + 1, updated_ms=now_ms)
    )


def purge(tx: Tx, id_before: int, idle_since_ms: int, after: int, limit: int) -> int | None:
    """Deletes carts made before `id_before` that nobody has touched since, among the next `limit` behind `after`.

    Returns the last id looked at; None at the end.
    """
    statement = sa.select(carts.c.id, carts.c.updated_ms).where(carts.c.id > after, carts.c.id < id_before)
    page = tx.execute(statement.order_by(carts.c.id).limit(limit)).all()
    idle = [row.id for row in page if row.updated_ms < idle_since_ms]
    if idle:
        tx.execute(sa.delete(carts).where(carts.c.id.in_(idle), carts.c.updated_ms < idle_since_ms))
    return page[-1].id if len(page) == limit else None


# --- checkouts ----------------------------------------------------------------------------------------------------


def find_checkout(tx: Tx, order_id: int) -> Checkout | None:
    row = tx.execute(sa.select(checkouts).where(checkouts.c.id == order_id)).first()
    return None if row is None else _checkout(row)


def _checkout(row: Any) -> Checkout:
    """Without its coupon, which is counted by its redemption from now on."""
    return Checkout(
        id=row.id,
        cart_id=row.cart_id,
        customer_id=row.customer_id,
        stage=row.status,
        key=row.key,
        digest=row.digest,
        total=Money(row.total_amount, row.currency),
        coupon=None,
        draft=_draft(row.draft),
        attempt=row.attempt,
        begun_ms=row.begun_ms,
        reason=row.reason,
        reason_skus=() if row.reason_skus is None else _ids(row.reason_skus),
    )


def take_due(tx: Tx, now_ms: int, lease_ms: int, limit: int) -> list[Checkout]:
    """Takes over checkouts whose driver's time is over, as another attempt, and nobody else takes the same."""
    due = sa.select(checkouts.c.id).where(checkouts.c.due_ms <= now_ms).order_by(checkouts.c.due_ms).limit(limit)
    ids = tx.execute(due.with_for_update(skip_locked=True)).scalars().all()
    if not ids:
        return []
    taken = tx.execute(
        sa.update(checkouts)
        .where(checkouts.c.id.in_(ids))
        .values(attempt=checkouts.c.attempt + 1, due_ms=now_ms + lease_ms)
        .returning(*checkouts.c)
    )
    return [_checkout(row) for row in taken]


def _driven_by(checkout: Checkout, *stages: str) -> list[sa.ColumnElement[bool]]:
    """The row, if nobody has taken it over since."""
    return [
        checkouts.c.id == checkout.id,
        checkouts.c.attempt == checkout.attempt,
        checkouts.c.status.in_(stages),
    ]


def look_again(tx: Tx, checkout: Checkout, due_ms: int | None) -> None:
    """Leaves a checkout to a sweeper from `due_ms` on; None: there is nothing more to do."""
    stages = ("placing", "failing") if due_ms is not None else ("failed",)
    tx.execute(sa.update(checkouts).where(*_driven_by(checkout, *stages)).values(due_ms=due_ms))


class Failure(Struct, frozen=True):
    """Why a checkout cannot be placed. `watch_until_ms`: when a sweeper looks for an order that came too late."""

    checkout: Checkout
    reason: str
    sku_ids: tuple[int, ...] = ()
    watch_until_ms: int | None = None


def give_up(tx: Tx, failure: Failure) -> bool:
    """placing → failing: from now on this attempt may ask the neighbours to let go. False: it is not ours any more."""
    values = {"status": "failing", "reason": failure.reason, "reason_skus": _encode(failure.sku_ids).decode()}
    return tx.execute(sa.update(checkouts).where(*_driven_by(failure.checkout, "placing")).values(values)).rowcount == 1


def fail(tx: Tx, failures: Sequence[Failure], now_ms: int) -> list[bool]:
    """Ends checkouts as failed: their coupons are given back, their carts open again. False: it was not ours."""
    done: list[bool] = []
    for failure in failures:
        values = {
            "status": "failed",
            "due_ms": failure.watch_until_ms,
            "ended_ms": now_ms,
            "reason": failure.reason,
            "reason_skus": _encode(failure.sku_ids).decode(),
        }
        where = _driven_by(failure.checkout, "placing", "failing")
        done.append(tx.execute(sa.update(checkouts).where(*where).values(values)).rowcount == 1)
    ended = [failure.checkout for failure, ours in zip(failures, done, strict=True) if ours]
    if ended:
        redeeming.give_back(tx, [checkout.id for checkout in ended], now_ms)
        _open_again(tx, [checkout.id for checkout in ended], [checkout.cart_id for checkout in ended], now_ms)
    return done


def _open_again(tx: Tx, order_ids: Sequence[int], cart_ids: Sequence[int], now_ms: int) -> None:
    tx.execute(
        sa.update(carts)
        .where(carts.c.id.in_(cart_ids), carts.c.order_id.in_(order_ids), carts.c.status == "ordered")
        .values(status="open", order_id=None, version=carts.c.version + 1, updated_ms=now_ms)
    )


def place_after_all(tx: Tx, checkout: Checkout, now_ms: int) -> bool:
    """Given up, but placed: its order exists and cannot be taken back, and orders have the last word."""
    values = {"status": "placed", "due_ms": None, "ended_ms": now_ms, "reason": None, "reason_skus": None}
    return (
        tx.execute(sa.update(checkouts).where(*_driven_by(checkout, "failing", "failed")).values(values)).rowcount == 1
    )


def page_of_facts(tx: Tx, after: int, limit: int) -> list[CheckoutFact]:
    return _facts(tx, _FACTS.where(checkouts.c.id > after).order_by(checkouts.c.id).limit(limit))


def facts_of(tx: Tx, order_ids: Sequence[int]) -> list[CheckoutFact]:
    return _facts(tx, _FACTS.where(checkouts.c.id.in_(order_ids)).order_by(checkouts.c.id))


_FACTS = sa.select(
    checkouts.c.id, checkouts.c.customer_id, checkouts.c.status, checkouts.c.total_amount, checkouts.c.currency
)


def _facts(tx: Tx, statement: sa.Executable) -> list[CheckoutFact]:
    return [
        CheckoutFact(
            row.id,
            row.customer_id,
            "placing" if row.status == "failing" else row.status,
            Money(row.total_amount, row.currency),
        )
        for row in tx.execute(statement)
    ]
