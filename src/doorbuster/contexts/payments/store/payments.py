"""Payments: each function is one statement or two, and every move says in its WHERE where it may start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.payments.model import (
    CAPTURABLE,
    OPEN,
    PAID,
    PaymentRecord,
    sources,
)
from doorbuster.contexts.payments.store.tables import payments
from doorbuster.platform.sql.database import Tx


def insert_if_absent(tx: Tx, payment: PaymentRecord) -> bool:
    """Writes a new payment unless its key is taken or its order has an open one. Says whether it did."""
    return tx.insert_if_absent(payments, msgspec.structs.asdict(payment))


def by_id(tx: Tx, payment_id: int) -> PaymentRecord | None:
    return _one(tx, payments.c.id == payment_id)


def by_ids(tx: Tx, payment_ids: Sequence[int]) -> dict[int, PaymentRecord]:
    return {payment.id: payment for payment in _all(tx, payments.c.id.in_(payment_ids))}


def by_key(tx: Tx, order_id: int, key: str) -> PaymentRecord | None:
    return _one(tx, payments.c.order_id == order_id, payments.c.idempotency_key == key)


def open_of(tx: Tx, order_id: int) -> PaymentRecord | None:
    return _one(tx, payments.c.order_id == order_id, payments.c.status.in_(OPEN))


def capturable_or_paid(tx: Tx, order_ids: Sequence[int]) -> list[PaymentRecord]:
    """The payments of these orders that hold money or may still take it."""
    return _all(tx, payments.c.order_id.in_(order_ids), payments.c.status.in_((*CAPTURABLE, *PAID)))


def take_lease(tx: Tx, payment: PaymentRecord, until_ms: int, next_check_ms: int) -> bool:
    """Makes an abandoned `in_progress` payment ours, if nobody else was faster."""
    return _update(
        tx,
        payments.c.id == payment.id,
        payments.c.status == "in_progress",
        payments.c.lease_until_ms == payment.lease_until_ms,
        lease_until_ms=until_ms,
        next_check_ms=next_check_ms,
    )


def release_lease(tx: Tx, payment: PaymentRecord, now_ms: int) -> bool:
    """Lets the next one who asks carry on at once."""
    return _update(
        tx,
        payments.c.id == payment.id,
        payments.c.status == "in_progress",
        payments.c.lease_until_ms == payment.lease_until_ms,
        lease_until_ms=now_ms,
    )


def give_up(tx: Tx, payment: PaymentRecord, now_ms: int) -> bool:
    """`in_progress` → `cancelled`, when the provider does not take it."""
    return _update(
        tx,
        payments.c.id == payment.id,
        payments.c.status == "in_progress",
        status="cancelled",
        lease_until_ms=None,
        next_check_ms=None,
        updated_ms=now_ms,
    )


def begin_refund(tx: Tx, payment_id: int, order_id: int, amount: int, currency: str, now_ms: int) -> bool:
    """Asks for some of the money back, if it is this order's, in this currency, and not more than is left. When nothing
    is left to ask for: `captured` → `refunding`."""
    asked = payments.c.refund_requested + amount
    return _update(
        tx,
        payments.c.id == payment_id,
        payments.c.status.in_(sources("refunding")),
        payments.c.order_id == order_id,
        payments.c.currency == currency,
        asked <= payments.c.captured_amount,
        refund_requested=asked,
        status=sa.case((asked == payments.c.captured_amount, "refunding"), else_=payments.c.status),
        updated_ms=now_ms,
    )


def finish_refund(tx: Tx, payment_id: int, amount: int, now_ms: int) -> bool | None:
    """Some of the money has gone back. When all of it has: `refunding` → `refunded`, and True. None: it was not asked
    for."""
    refunded = payments.c.refunded_amount + amount
    row = tx.execute(
        sa.update(payments)
        .where(payments.c.id == payment_id, refunded <= payments.c.refund_requested)
        .values(
            refunded_amount=refunded,
            status=sa.case((refunded == payments.c.captured_amount, "refunded"), else_=payments.c.status),
            refunded_ms=now_ms,
            updated_ms=now_ms,
        )
        .returning(payments.c.status)
    ).first()
    return None if row is None else row.status == "refunded"


def due(tx: Tx, now_ms: int, limit: int) -> list[PaymentRecord]:
    """Payments nobody has told us about for long enough, the longest waiting first."""
    statement = (
        sa.select(payments)
        .where(payments.c.next_check_ms <= now_ms, payments.c.status.in_(CAPTURABLE))
        .order_by(payments.c.next_check_ms)
        .limit(limit)
    )
    return [PaymentRecord(**row) for row in tx.execute(statement).mappings()]


def take_check(tx: Tx, payment: PaymentRecord, next_check_ms: int) -> bool:
    """Counts a question before it is asked, so that the pace is kept also through crashes."""
    return _update(
        tx,
        payments.c.id == payment.id,
        payments.c.status.in_(CAPTURABLE),
        payments.c.next_check_ms == payment.next_check_ms,
        next_check_ms=next_check_ms,
        checks=payments.c.checks + 1,
    )


def captured_of(tx: Tx, payment_ids: Sequence[int]) -> list[PaymentRecord]:
    """Those of the payments that were ever captured."""
    wanted = sa.select(payments).where(payments.c.id.in_(payment_ids), payments.c.captured_amount > 0)
    return [PaymentRecord(**row) for row in tx.execute(wanted.order_by(payments.c.id)).mappings()]


def captured_page(tx: Tx, after: int, limit: int) -> list[PaymentRecord]:
    """Payments that were ever captured, by id."""
    statement = (
        sa.select(payments)
        .where(payments.c.captured_amount > 0, payments.c.id > after)
        .order_by(payments.c.id)
        .limit(limit)
    )
    return [PaymentRecord(**row) for row in tx.execute(statement).mappings()]


def _one(tx: Tx, *conditions: sa.ColumnElement[bool]) -> PaymentRecord | None:
    row = tx.execute(sa.select(payments).where(*conditions)).mappings().first()
    return None if row is None else PaymentRecord(**row)


def _all(tx: Tx, *conditions: sa.ColumnElement[bool]) -> list[PaymentRecord]:
    rows = tx.execute(sa.select(payments).where(*conditions).order_by(payments.c.id))
    return [PaymentRecord(**row) for row in rows.mappings()]


def _update(tx: Tx, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
    return tx.execute(sa.update(payments).where(*conditions).values(**values)).rowcount == 1
