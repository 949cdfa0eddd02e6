"""The ledger: appended to, never changed."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.contexts.payments.model import LedgerTransaction
from doorbuster.contexts.payments.store.tables import ledger_entries
from doorbuster.platform.sql.database import Tx


def post(tx: Tx, transaction: LedgerTransaction, at_ms: int) -> None:
    """Writes all entries; a `LedgerTransaction` balances or does not exist. Posted twice, it is RowRejected."""
    rows = [
        {
            "transaction_id": transaction.id,
            "account": entry.account,
            "payment_id": transaction.payment_id,
            "refund_id": transaction.refund_id,
            "kind": transaction.kind,
            "amount": entry.amount,
            "currency": entry.currency,
            "cause": transaction.cause,
            "at_ms": at_ms,
        }
        for entry in transaction.entries
    ]
    tx.execute(sa.insert(ledger_entries), rows)
