"""Coupons are counted in the database: up with a condition when an order is placed, down once when it falls through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.checkout.model import Checkout
from doorbuster.contexts.checkout.tables import coupon_uses, coupons, redemptions
from doorbuster.contracts.checkout import CouponNotApplicable, CouponUsedUp
from doorbuster.platform.sql.database import Tx


class CouponLost(Exception):
    """A guard refused what the decision had allowed: the row changed under our lock. Never expected."""


def refusals(tx: Tx, checkouts: Sequence[Checkout]) -> dict[int, Exception]:
    """Which of the checkouts (by id) cannot have their coupon, in order of arrival. Locks the coupons till the end."""
    wanted = [checkout for checkout in checkouts if checkout.coupon is not None]
    if not wanted:
        return {}
    left = _left_in_all(tx, sorted({_coupon(checkout) for checkout in wanted}))
    uses = _uses(tx, wanted)
    refused: dict[int, Exception] = {}
    for checkout in wanted:
        assert checkout.coupon is not None
        coupon_id, limit = checkout.coupon.id, checkout.coupon.customer_limit
        key = (coupon_id, checkout.customer_id)
        if coupon_id not in left:
            refused[checkout.id] = CouponNotApplicable("it does not exist any more")
        elif limit is not None and uses[key] >= limit:
            refused[checkout.id] = CouponUsedUp(f"each customer may use it {limit} times")
        elif (room := left[coupon_id]) is not None and room <= 0:
            refused[checkout.id] = CouponUsedUp()
        else:
            left[coupon_id] = None if room is None else room - 1
            uses[key] += 1
    return refused


def _left_in_all(tx: Tx, coupon_ids: Sequence[int]) -> dict[int, int | None]:
    """How often each may still be used; None: as often as one likes. SQLite's transaction is the lock."""
    statement = sa.select(coupons.c.id, coupons.c.total_limit, coupons.c.used).where(coupons.c.id.in_(coupon_ids))
    rows = tx.execute(statement.order_by(coupons.c.id).with_for_update())
    return {row.id: None if row.total_limit is None else row.total_limit - row.used for row in rows}


def _uses(tx: Tx, wanted: Sequence[Checkout]) -> Counter[tuple[int, int]]:
    pairs = [(_coupon(checkout), checkout.customer_id) for checkout in wanted if _is_counted(checkout)]
    if not pairs:
        return Counter()
    statement = sa.select(coupon_uses).where(sa.tuple_(coupon_uses.c.coupon_id, coupon_uses.c.customer_id).in_(pairs))
    return Counter({(row.coupon_id, row.customer_id): row.used for row in tx.execute(statement)})


def redeem(tx: Tx, begun: Sequence[Checkout], now_ms: int) -> None:
    """Counts the coupons of begun checkouts that `refusals` has let through, in the same transaction."""
    wanted = [checkout for checkout in begun if checkout.coupon is not None]
    if not wanted:
        return
    for coupon_id, times in sorted(Counter(_coupon(checkout) for checkout in wanted).items()):
        counted = tx.execute(
            sa.update(coupons)
            .where(coupons.c.id == coupon_id)
            .where(sa.or_(coupons.c.total_limit.is_(None), coupons.c.used + times <= coupons.c.total_limit))
            .values(used=coupons.c.used + times)
        )
        if counted.rowcount != 1:
            raise CouponLost(coupon_id)
    tx.execute(
        sa.insert(redemptions),
        [
            {
                "order_id": checkout.id,
                "coupon_id": _coupon(checkout),
                "customer_id": checkout.customer_id,
                "at_ms": now_ms,
            }
            for checkout in wanted
        ],
    )
    for checkout in wanted:
        if _is_counted(checkout):
            _count_use(tx, checkout)


def _count_use(tx: Tx, checkout: Checkout) -> None:
    """Up by one; the table's own check forbids one more than the limit."""
    assert checkout.coupon is not None
    row = {
        "coupon_id": checkout.coupon.id,
        "customer_id": checkout.customer_id,
        "used": 1,
        "customer_limit": checkout.coupon.customer_limit,
    }
    statement = tx.insert(coupon_uses).values(row)
    tx.execute(
        statement.on_conflict_do_update(
            index_elements=["coupon_id", "customer_id"], set_={"used": coupon_uses.c.used + 1}
        )
    )


def give_back(tx: Tx, order_ids: Sequence[int], now_ms: int) -> int:
    """Counts down the coupons of orders that fell through, once each. Returns how many there were."""
    returned = tx.execute(
        sa.update(redemptions)
        .where(redemptions.c.order_id.in_(order_ids), redemptions.c.given_back_ms.is_(None))
        .values(given_back_ms=now_ms)
        .returning(redemptions.c.coupon_id, redemptions.c.customer_id)
    ).all()
    for coupon_id, times in sorted(Counter(row.coupon_id for row in returned).items()):
        tx.execute(sa.update(coupons).where(coupons.c.id == coupon_id).values(used=coupons.c.used - times))
    for (coupon_id, customer_id), times in sorted(
        Counter((row.coupon_id, row.customer_id) for row in returned).items()
    ):
        tx.execute(
            sa.update(coupon_uses)
            .where(coupon_uses.c.coupon_id == coupon_id, coupon_uses.c.customer_id == customer_id)
            .values(used=coupon_uses.c.used - times)
        )
    return len(returned)


def _coupon(checkout: Checkout) -> int:
    assert checkout.coupon is not None
    return checkout.coupon.id


def _is_counted(checkout: Checkout) -> bool:
    return checkout.coupon is not None and checkout.coupon.customer_limit is not None
