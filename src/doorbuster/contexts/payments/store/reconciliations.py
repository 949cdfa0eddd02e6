"""Reconciliations, and what of the ledger they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.payments.differences import LedgerLine, Movement, Reconciliation
from doorbuster.contexts.payments.model import PaymentStatus, RefundStatus, provider_account
from doorbuster.contexts.payments.provider import Period
from doorbuster.contexts.payments.store.tables import (
    ledger_entries,
    payments,
    reconciliation_differences,
    reconciliations,
    refunds,
)
from doorbuster.kernel.ids import EPOCH_MS, ID_MAX, SEQUENCE_BITS, SHARD_BITS, WORKER_BITS
from doorbuster.platform.sql.database import Tx

SLACK_MS = 24 * 3600 * 1000
"""How far the time in a transaction's id may be from the time of its posting."""
CHUNK = 500

_columns = (
    ledger_entries.c.kind,
    ledger_entries.c.payment_id,
    ledger_entries.c.refund_id,
    ledger_entries.c.amount,
    ledger_entries.c.currency,
    ledger_entries.c.at_ms,
)


def ledger_page(tx: Tx, provider: str, period: Period, after: int, limit: int) -> tuple[list[LedgerLine], int]:
    """The provider's side of what was posted in `period`, by transaction; and the last transaction's id.

    Ids begin with their time, so the primary key finds the day.
    """
    first, last = _first_id(period.from_ms - SLACK_MS), _first_id(period.until_ms + SLACK_MS)
    rows = tx.execute(
        sa.select(ledger_entries.c.transaction_id, *_columns)
        .where(ledger_entries.c.transaction_id > max(after, first), ledger_entries.c.transaction_id < last)
        .where(ledger_entries.c.account == provider_account(provider))
        .where(ledger_entries.c.at_ms >= period.from_ms, ledger_entries.c.at_ms < period.until_ms)
        .order_by(ledger_entries.c.transaction_id)
        .limit(limit)
    ).all()
    return [_line(row) for row in rows], rows[-1].transaction_id if rows else after


def ledger_of(tx: Tx, provider: str, movements: Sequence[Movement]) -> list[LedgerLine]:
    """The postings of these movements, whenever they were made."""
    found: list[LedgerLine] = []
    for kind, column in (("capture", ledger_entries.c.payment_id), ("refund", ledger_entries.c.refund_id)):
        for ids in _chunks([number(text) for what, text in movements if what == kind]):
            rows = tx.execute(
                sa.select(*_columns)
                .where(ledger_entries.c.kind == kind, column.in_(ids))
                .where(ledger_entries.c.account == provider_account(provider))
            )
            found += [_line(row) for row in rows]
    return found


def standing(tx: Tx, movements: Sequence[Movement]) -> tuple[dict[str, PaymentStatus], dict[str, RefundStatus]]:
    """How far these payments and refunds have come; ids that are none of ours are left out."""
    of_payments: dict[str, PaymentStatus] = {}
    of_refunds: dict[str, RefundStatus] = {}
    for ids in _chunks([number(text) for what, text in movements if what == "capture"]):
        rows = tx.execute(sa.select(payments.c.id, payments.c.status).where(payments.c.id.in_(ids)))
        of_payments |= {str(row.id): row.status for row in rows}
    for ids in _chunks([number(text) for what, text in movements if what == "refund"]):
        rows = tx.execute(sa.select(refunds.c.id, refunds.c.status).where(refunds.c.id.in_(ids)))
        of_refunds |= {str(row.id): row.status for row in rows}
    return of_payments, of_refunds


def keep(tx: Tx, made: Reconciliation) -> None:
    """Writes a reconciliation down."""
    row = msgspec.structs.asdict(made)
    differences = row.pop("differences")
    tx.execute(sa.insert(reconciliations).values(**row))
    if differences:
        tx.execute(
            sa.insert(reconciliation_differences),
            [
                {"reconciliation_id": made.id, "number": at, **msgspec.structs.asdict(difference)}
                for at, difference in enumerate(differences, start=1)
            ],
        )


def number(text: str) -> int:
    """The id, or 0 for a text that is none: nothing of ours has it."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19) or int(text) > ID_MAX:
        return 0
    return int(text)


def _line(row: sa.Row[Any]) -> LedgerLine:
    return LedgerLine(row.kind, row.payment_id, row.refund_id, abs(row.amount), row.currency, row.at_ms)


def _first_id(at_ms: int) -> int:
    return max(0, at_ms - EPOCH_MS) << (SHARD_BITS + WORKER_BITS + SEQUENCE_BITS)


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), CHUNK):
        yield ids[start : start + CHUNK]
