"""Rows of what merchants lay down: coupons and ways of shipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict

from doorbuster.contexts.checkout.model import Coupon, ShippingMethod
from doorbuster.contexts.checkout.tables import coupons, shipping_methods
from doorbuster.platform.sql.database import Tx


def add_coupon(tx: Tx, coupon: Coupon) -> bool:
    """False if the merchant has a coupon with this code."""
    return tx.insert_if_absent(coupons, asdict(coupon))


def coupon_of_code(tx: Tx, merchant_id: int, code: str) -> Coupon | None:
    statement = sa.select(coupons).where(coupons.c.merchant_id == merchant_id, coupons.c.code == code)
    row = tx.execute(statement).first()
    return None if row is None else _coupon(row)


def coupons_of(tx: Tx, merchant_id: int, before: int, limit: int) -> list[Coupon]:
    """A merchant's newest coupons with ids below `before`."""
    statement = sa.select(coupons).where(coupons.c.merchant_id == merchant_id, coupons.c.id < before)
    return [_coupon(row) for row in tx.execute(statement.order_by(coupons.c.id.desc()).limit(limit))]


def _coupon(row: sa.Row[Any]) -> Coupon:
    return Coupon(**{column.name: getattr(row, column.name) for column in coupons.c})


def methods_of(tx: Tx, merchant_ids: Sequence[int]) -> list[ShippingMethod]:
    statement = sa.select(shipping_methods).where(shipping_methods.c.merchant_id.in_(merchant_ids))
    rows = tx.execute(statement.order_by(shipping_methods.c.merchant_id, shipping_methods.c.code))
    return [ShippingMethod(**{column.name: getattr(row, column.name) for column in shipping_methods.c}) for row in rows]


def count_methods(tx: Tx, merchant_id: int) -> int:
    statement = sa.select(sa.func.count()).select_from(shipping_methods)
    return tx.execute(statement.where(shipping_methods.c.merchant_id == merchant_id)).scalar_one()


def put_method(tx: Tx, method: ShippingMethod) -> None:
    row = asdict(method)
    key = ["merchant_id", "code"]
    changes = {name: value for name, value in row.items() if name not in key}
    tx.execute(tx.insert(shipping_methods).values(row).on_conflict_do_update(index_elements=key, set_=changes))


def delete_method(tx: Tx, merchant_id: int, code: str) -> bool:
    where = (shipping_methods.c.merchant_id == merchant_id, shipping_methods.c.code == code)
    return tx.execute(sa.delete(shipping_methods).where(*where)).rowcount == 1
