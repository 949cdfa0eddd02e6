"""Payments, callbacks, refunds, the ledger, and the bus."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables

revision = "0001_first"

AMOUNT_MAX = 10**13
PAID = "status IN ('captured', 'refunding', 'refunded')"
OPEN = sa.text("status IN ('in_progress', 'pending')")


def upgrade() -> None:
    _create_payments()
    _create_webhook_events()
    _create_refunds()
    _create_ledger()
    create_tables()


def _create_payments() -> None:
    op.create_table(
        "payments",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("order_id", sa.BigInteger, nullable=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("checkout_url", sa.Text),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.Column("next_check_ms", sa.BigInteger),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("captured_amount", sa.BigInteger, nullable=False),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("captured_ms", sa.BigInteger),
        sa.Column("refunded_ms", sa.BigInteger),
        sa.UniqueConstraint("order_id", "idempotency_key", name="payments_one_per_key"),
        sa.UniqueConstraint("provider", "reference", name="payments_one_per_reference"),
        sa.CheckConstraint(
            "status IN ('in_progress', 'pending', 'captured', 'failed', 'cancelled', 'refunding', 'refunded')",
            name="payments_status",
        ),
        sa.CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MAX}", name="payments_amount"),
        sa.CheckConstraint("length(currency) = 3", name="payments_currency"),
        sa.CheckConstraint("captured_amount IN (0, amount)", name="payments_captured_whole"),
        sa.CheckConstraint("refunded_amount IN (0, captured_amount)", name="payments_refunded_whole"),
        sa.CheckConstraint(f"({PAID}) = (captured_amount > 0)", name="payments_captured_when_paid"),
        sa.CheckConstraint("(status = 'refunded') = (refunded_amount > 0)", name="payments_refunded_when_refunded"),
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
    _partial_index("payments_one_open_per_order", "payments", "order_id", OPEN, unique=True)
    _partial_index("payments_to_check", "payments", "next_check_ms", sa.text("next_check_ms IS NOT NULL"))
    _partial_index("payments_captured", "payments", "id", sa.text("captured_amount > 0"))


def _create_webhook_events() -> None:
    op.create_table(
        "webhook_events",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Text, primary_key=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("payment_id", sa.BigInteger, nullable=False),
        sa.Column("effect", sa.Text),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("webhook_events_by_payment", "webhook_events", ["payment_id"])


def _create_refunds() -> None:
    op.create_table(
        "refunds",
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
    _partial_index("refunds_due", "refunds", "next_try_ms", sa.text("status = 'requested'"))


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
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
    for statement in _APPEND_ONLY[op.get_bind().dialect.name]:
        op.execute(statement)


def _partial_index(name: str, table: str, column: str, where: sa.TextClause, *, unique: bool = False) -> None:
    op.create_index(name, table, [column], unique=unique, sqlite_where=where, postgresql_where=where)


_APPEND_ONLY = {
    "sqlite": [
        f"CREATE TRIGGER ledger_no_{what.lower()} BEFORE {what} ON ledger_entries "
        "BEGIN SELECT RAISE(ABORT, 'the ledger is only appended to'); END"
        for what in ("UPDATE", "DELETE")
    ],
    "postgresql": [
        "CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'the ledger is only appended to' USING ERRCODE = 'restrict_violation'; END $$",
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()",
    ],
}
