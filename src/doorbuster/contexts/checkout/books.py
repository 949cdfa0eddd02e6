"""Checkout proves its own books: coupons are used as often as counted, and every checkout is looked after."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.checkout.tables import carts, checkouts, coupon_uses, coupons, redemptions
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

STUCK_MS = 10 * 60_000
"""How far beyond its time limit an unfinished checkout is a breach, even if neighbours are away."""

_live = redemptions.c.given_back_ms.is_(None)


def checks(tx: Tx, now_ms: int, limit_ms: int) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [
        _coupons_count_redemptions(tx),
        _customers_count_redemptions(tx),
        _redemptions_belong(tx),
        _carts_and_checkouts_agree(tx),
        _nothing_is_stuck(tx, now_ms, limit_ms),
    ]


def _coupons_count_redemptions(tx: Tx) -> Check:
    counted = (
        sa.select(redemptions.c.coupon_id, sa.func.count().label("times"))
        .where(_live)
        .group_by(redemptions.c.coupon_id)
        .subquery()
    )
    times = sa.func.coalesce(counted.c.times, 0)
    wrong = tx.execute(
        sa.select(coupons.c.id, coupons.c.used, times.label("times"))
        .select_from(coupons.outerjoin(counted, counted.c.coupon_id == coupons.c.id))
        .where(coupons.c.used != times)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"coupon {row.id} counts {row.used}, but has {row.times} redemptions" for row in wrong]
    return _check("coupon count = its redemptions", "those not given back", breaches)


def _customers_count_redemptions(tx: Tx) -> Check:
    """A use is only counted where the coupon has a limit per customer."""
    mine = sa.and_(
        _live,
        redemptions.c.coupon_id == coupon_uses.c.coupon_id,
        redemptions.c.customer_id == coupon_uses.c.customer_id,
    )
    times = sa.select(sa.func.count()).select_from(redemptions).where(mine).scalar_subquery()
    wrong = tx.execute(sa.select(coupon_uses).where(coupon_uses.c.used != times).limit(BREACHES_SHOWN))
    breaches = [f"coupon {row.coupon_id} counts {row.used} uses of customer {row.customer_id}" for row in wrong]
    return _check("coupon uses per customer = their redemptions", "those not given back", breaches)


def _redemptions_belong(tx: Tx) -> Check:
    """A live redemption is that of a checkout that stands, and names the same coupon."""
    wrong = tx.execute(
        sa.select(redemptions.c.order_id, checkouts.c.status)
        .select_from(redemptions.outerjoin(checkouts, checkouts.c.id == redemptions.c.order_id))
        .where(_live)
        .where(
            sa.or_(
                checkouts.c.id.is_(None),
                checkouts.c.status == "failed",
                checkouts.c.coupon_id != redemptions.c.coupon_id,
                checkouts.c.customer_id != redemptions.c.customer_id,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"order {row.order_id} has a coupon, and its checkout is {row.status or 'missing'}" for row in wrong]
    return _check("every redemption belongs to a checkout that stands", "same coupon, same customer", breaches)


def _carts_and_checkouts_agree(tx: Tx) -> Check:
    """An ordered cart has one checkout that stands, and that is the one it names."""
    orphans = tx.execute(
        sa.select(carts.c.id, carts.c.order_id, checkouts.c.status)
        .select_from(carts.outerjoin(checkouts, checkouts.c.id == carts.c.order_id))
        .where(carts.c.order_id.is_not(None))
        .where(sa.or_(checkouts.c.id.is_(None), checkouts.c.cart_id != carts.c.id, checkouts.c.status == "failed"))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"cart {row.id} names order {row.order_id}, which is {row.status or 'missing'}" for row in orphans]
    twice = tx.execute(
        sa.select(checkouts.c.cart_id, sa.func.count().label("times"))
        .where(checkouts.c.status != "failed")
        .group_by(checkouts.c.cart_id)
        .having(sa.func.count() > 1)
        .limit(BREACHES_SHOWN)
    )
    breaches += [f"cart {row.cart_id} was ordered {row.times} times" for row in twice]
    return _check("a cart is ordered once", "and names its order", breaches)


def _nothing_is_stuck(tx: Tx, now_ms: int, limit_ms: int) -> Check:
    under_way = checkouts.c.status.in_(("placing", "failing"))
    late = tx.execute(
        sa.select(checkouts.c.id, checkouts.c.begun_ms)
        # The partial index holds all that are under way.
        .where(checkouts.c.due_ms.is_not(None), under_way, checkouts.c.begun_ms < now_ms - limit_ms - STUCK_MS)
        .limit(BREACHES_SHOWN)
    ).all()
    overdue = tx.execute(
        sa.select(sa.func.count())
        .select_from(checkouts)
        .where(checkouts.c.due_ms.is_not(None), under_way, checkouts.c.begun_ms < now_ms - limit_ms)
    ).scalar_one()
    breaches = [f"checkout {row.id} has been under way for {(now_ms - row.begun_ms) // 1000} s" for row in late]
    verdict = "in flight" if overdue else "holds"
    return Check(
        "no checkout is stuck",
        "broken" if breaches else verdict,
        f"{overdue} beyond their time limit",
        tuple(breaches),
    )


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
