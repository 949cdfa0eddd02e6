"""The tables. What must never be is refused by the database itself."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.contexts.payments.model import OPEN, PAID, STATUSES
from doorbuster.kernel.money import AMOUNT_MAX

metadata = sa.MetaData()


def _in(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


payments = sa.Table(
    "payments",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("order_id", sa.BigInteger, nullable=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("reference", sa.Text),
    sa.Column("idempotency_key", sa.Text, nullable=False),
    sa.Column("method", sa.Text),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("decline", sa.Text),
    sa.Column("checkout_url", sa.Text),
    sa.Column("lease_until_ms", sa.BigInteger),
    sa.Column("next_check_ms", sa.BigInteger),
    sa.Column("checks", sa.Integer, nullable=False),
    sa.Column("captured_amount", sa.BigInteger, nullable=False),
    sa.Column("refund_requested", sa.BigInteger, nullable=False),
    sa.Column("refunded_amount", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.Column("captured_ms", sa.BigInteger),
    sa.Column("refunded_ms", sa.BigInteger),
    sa.Column("cause", sa.Text, nullable=False, server_default=""),
    sa.UniqueConstraint("order_id", "idempotency_key", name="payments_one_per_key"),
    sa.UniqueConstraint("provider", "reference", name="payments_one_per_reference"),
    sa.CheckConstraint(_in("status", STATUSES), name="payments_status"),
    sa.CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MAX}", name="payments_amount"),
    sa.CheckConstraint("length(currency) = 3", name="payments_currency"),
    sa.CheckConstraint("captured_amount IN (0, amount)", name="payments_captured_whole"),
    sa.CheckConstraint("refunded_amount BETWEEN 0 AND captured_amount", name="payments_refunded_within"),
    sa.CheckConstraint(
        "refund_requested BETWEEN refunded_amount AND captured_amount", name="payments_refund_requested_within"
    ),
    sa.CheckConstraint(f"({_in('status', PAID)}) = (captured_amount > 0)", name="payments_captured_when_paid"),
    sa.CheckConstraint(
        "(status = 'refunded') = (captured_amount > 0 AND refunded_amount = captured_amount)",
        name="payments_refunded_when_refunded",
    ),
    sa.CheckConstraint(
        "(status = 'refunding') = (refund_requested = captured_amount AND refunded_amount < captured_amount)",
        name="payments_refunding_when_all_requested",
    ),
    sa.CheckConstraint("(captured_ms IS NOT NULL) = (captured_amount > 0)", name="payments_captured_at"),
    sa.CheckConstraint("(refunded_ms IS NOT NULL) = (refunded_amount > 0)", name="payments_refunded_at"),
    sa.CheckConstraint(
        "(status = 'in_progress') = (lease_until_ms IS NOT NULL)", name="payments_lease_while_in_progress"
    ),
    sa.CheckConstraint(
        "status <> 'pending' OR (reference IS NOT NULL AND checkout_url IS NOT NULL)",
        name="payments_pending_can_be_paid",
    ),
)
sa.Index(
    "payments_one_open_per_order",
    payments.c.order_id,
    unique=True,
    sqlite_where=payments.c.status.in_(OPEN),
    postgresql_where=payments.c.status.in_(OPEN),
)
sa.Index(
    "payments_to_check",
    payments.c.next_check_ms,
    sqlite_where=payments.c.next_check_ms.is_not(None),
    postgresql_where=payments.c.next_check_ms.is_not(None),
)
sa.Index(
    "payments_captured",
    payments.c.id,
    sqlite_where=payments.c.captured_amount > 0,
    postgresql_where=payments.c.captured_amount > 0,
)

webhook_events = sa.Table(
    "webhook_events",
    metadata,
    # The inbox of callbacks: written in the transaction of their effect, kept for good.
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payment_id", sa.BigInteger, nullable=False),
    # The status the payment moved to because of this callback; null when others had been faster.
    sa.Column("effect", sa.Text),
    # Which refund that was; null for other effects.
    sa.Column("refund_id", sa.BigInteger),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("received_ms", sa.BigInteger, nullable=False),
    sa.Index("webhook_events_by_payment", "payment_id"),
)

refunds = sa.Table(
    "refunds",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("payment_id", sa.BigInteger, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_ms", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("succeeded_ms", sa.BigInteger),
    sa.UniqueConstraint("payment_id", "cause", name="refunds_one_per_cause"),
    sa.CheckConstraint("status IN ('requested', 'succeeded')", name="refunds_status"),
    sa.CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MAX}", name="refunds_amount"),
    sa.CheckConstraint("(status = 'succeeded') = (succeeded_ms IS NOT NULL)", name="refunds_succeeded_at"),
)
sa.Index(
    "refunds_due",
    refunds.c.next_try_ms,
    sqlite_where=refunds.c.status == "requested",
    postgresql_where=refunds.c.status == "requested",
)

ledger_entries = sa.Table(
    "ledger_entries",
    metadata,
    # Append-only (triggers refuse everything else). `refund_id` is 0 for a capture, so that it is unique too.
    sa.Column("transaction_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.BigInteger, nullable=False),
    sa.Column("refund_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("payment_id", "kind", "refund_id", "account", name="ledger_posted_once"),
    sa.CheckConstraint("kind IN ('capture', 'refund')", name="ledger_kind"),
    sa.CheckConstraint("(kind = 'capture') = (refund_id = 0)", name="ledger_refund_named"),
    sa.CheckConstraint("amount <> 0", name="ledger_amount"),
)

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    # A comparison of one provider's statement with the ledger, over [from_ms, until_ms).
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("made_ms", sa.BigInteger, nullable=False),
    sa.Column("statement_lines", sa.BigInteger, nullable=False),
    sa.Column("ledger_lines", sa.BigInteger, nullable=False),
    sa.Column("matched", sa.BigInteger, nullable=False),
    sa.Column("explained", sa.BigInteger, nullable=False),
    sa.Column("unexplained", sa.BigInteger, nullable=False),
    sa.Index("reconciliations_by_day", "provider", "from_ms"),
)

reconciliation_differences = sa.Table(
    "reconciliation_differences",
    metadata,
    sa.Column("reconciliation_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("movement", sa.Text, nullable=False),
    sa.Column("payment_id", sa.Text, nullable=False),
    sa.Column("refund_id", sa.Text),
    # Minor units; null on the side that has no such movement.
    sa.Column("theirs", sa.BigInteger),
    sa.Column("ours", sa.BigInteger),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("explained", sa.Boolean, nullable=False),
    sa.Column("words", sa.Text, nullable=False),
)
