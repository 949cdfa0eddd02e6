"""Refunds: rows until they have succeeded, and after."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.payments.model import RefundRecord
from doorbuster.contexts.payments.store.tables import payments, refunds
from doorbuster.platform.sql.database import Tx


def insert_if_absent(tx: Tx, refund: RefundRecord) -> bool:
    """Writes the refund unless the payment has one for this cause. Says whether it did."""
    return tx.insert_if_absent(refunds, msgspec.structs.asdict(refund))


def withdraw(tx: Tx, refund: RefundRecord) -> None:
    """Takes back a row of this very transaction."""
    tx.execute(sa.delete(refunds).where(refunds.c.id == refund.id, refunds.c.attempts == 0))


def by_id(tx: Tx, refund_id: int) -> RefundRecord | None:
    row = tx.execute(sa.select(refunds).where(refunds.c.id == refund_id)).mappings().first()
    return None if row is None else RefundRecord(**row)


def by_ids(tx: Tx, refund_ids: Sequence[int]) -> dict[int, RefundRecord]:
    rows = tx.execute(sa.select(refunds).where(refunds.c.id.in_(refund_ids)))
    return {row["id"]: RefundRecord(**row) for row in rows.mappings()}


def requested_of(tx: Tx, payment_id: int) -> list[RefundRecord]:
    """The refunds of a payment that are not made yet, as far as we know; by id."""
    wanted = sa.select(refunds).where(refunds.c.payment_id == payment_id, refunds.c.status == "requested")
    return [RefundRecord(**row) for row in tx.execute(wanted.order_by(refunds.c.id)).mappings()]


def due(tx: Tx, now_ms: int, limit: int) -> list[RefundRecord]:
    """Requested refunds whose pause is over, the longest waiting first."""
    statement = (
        sa.select(refunds)
        .where(refunds.c.status == "requested", refunds.c.next_try_ms <= now_ms)
        .order_by(refunds.c.next_try_ms)
        .limit(limit)
    )
    return [RefundRecord(**row) for row in tx.execute(statement).mappings()]


def take(tx: Tx, refund: RefundRecord, next_try_ms: int) -> bool:
    """Counts a try before it is made, so that the pace is kept also through crashes."""
    statement = (
        sa.update(refunds)
        .where(refunds.c.id == refund.id, refunds.c.status == "requested")
        .where(refunds.c.attempts == refund.attempts)
        .values(attempts=refund.attempts + 1, next_try_ms=next_try_ms)
    )
    return tx.execute(statement).rowcount == 1


def succeed(tx: Tx, refund: RefundRecord, now_ms: int) -> bool:
    """`requested` → `succeeded`."""
    statement = (
        sa.update(refunds)
        .where(refunds.c.id == refund.id, refunds.c.status == "requested")
        .values(status="succeeded", succeeded_ms=now_ms)
    )
    return tx.execute(statement).rowcount == 1


def succeeded_page(tx: Tx, provider: str, after: int, limit: int) -> list[int]:
    """Ids of refunds that this provider has made, rising."""
    statement = (
        sa.select(refunds.c.id)
        .join(payments, payments.c.id == refunds.c.payment_id)
        .where(refunds.c.status == "succeeded", refunds.c.id > after, payments.c.provider == provider)
        .order_by(refunds.c.id)
        .limit(limit)
    )
    return list(tx.execute(statement).scalars())
