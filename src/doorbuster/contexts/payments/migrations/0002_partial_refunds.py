"""Refunds in parts, payments confirmed at once, and a payment's reconciliation with the provider's statement."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_partial_refunds"

AMOUNT_MAX = 10**13
PAID = "status IN ('captured', 'refunding', 'refunded')"
OPEN = "status IN ('in_progress', 'pending')"
WITHIN = {
    "payments_refunded_within": "refunded_amount BETWEEN 0 AND captured_amount",
    "payments_refund_requested_within": "refund_requested BETWEEN refunded_amount AND captured_amount",
    "payments_refunded_when_refunded": (
        "(status = 'refunded') = (captured_amount > 0 AND refunded_amount = captured_amount)"
    ),
    "payments_refunding_when_all_requested": (
        "(status = 'refunding') = (refund_requested = captured_amount AND refunded_amount < captured_amount)"
    ),
}
REQUESTED = "CASE WHEN status IN ('refunding', 'refunded') THEN captured_amount ELSE 0 END"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild_payments()  # SQLite cannot change the checks of a table
    else:
        _alter_payments()
    op.add_column("webhook_events", sa.Column("refund_id", sa.BigInteger))
    _create_reconciliations()


def _alter_payments() -> None:
    op.add_column("payments", sa.Column("method", sa.Text))
    op.add_column("payments", sa.Column("decline", sa.Text))
    op.add_column("payments", sa.Column("refund_requested", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(f"UPDATE payments SET refund_requested = {REQUESTED} WHERE captured_amount > 0")  # noqa: S608 - constants
    op.alter_column("payments", "refund_requested", server_default=None)
    op.drop_constraint("payments_refunded_whole", "payments")
    op.drop_constraint("payments_refunded_when_refunded", "payments")
    for name, condition in WITHIN.items():
        op.create_check_constraint(name, "payments", condition)


def _rebuild_payments() -> None:
    kept = [column["name"] for column in sa.inspect(op.get_bind()).get_columns("payments")]
    op.rename_table("payments", "payments_before")
    for index in ("payments_one_open_per_order", "payments_to_check", "payments_captured"):
        op.drop_index(index)
    op.create_table(
        "payments",
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
        sa.UniqueConstraint("order_id", "idempotency_key", name="payments_one_per_key"),
        sa.UniqueConstraint("provider", "reference", name="payments_one_per_reference"),
        sa.CheckConstraint(
            "status IN ('in_progress', 'pending', 'captured', 'failed', 'cancelled', 'refunding', 'refunded')",
            name="payments_status",
        ),
        sa.CheckConstraint(f"amount BETWEEN 1 AND {AMOUNT_MAX}", name="payments_amount"),
        sa.CheckConstraint("length(currency) = 3", name="payments_currency"),
        sa.CheckConstraint("captured_amount IN (0, amount)", name="payments_captured_whole"),
        sa.CheckConstraint(f"({PAID}) = (captured_amount > 0)", name="payments_captured_when_paid"),
        sa.CheckConstraint("(captured_ms IS NOT NULL) = (captured_amount > 0)", name="payments_captured_at"),
        sa.CheckConstraint("(refunded_ms IS NOT NULL) = (refunded_amount > 0)", name="payments_refunded_at"),
        sa.CheckConstraint(
            "(status = 'in_progress') = (lease_until_ms IS NOT NULL)", name="payments_lease_while_in_progress"
        ),
        sa.CheckConstraint(
            "status <> 'pending' OR (reference IS NOT NULL AND checkout_url IS NOT NULL)",
            name="payments_pending_can_be_paid",
        ),
        *(sa.CheckConstraint(condition, name=name) for name, condition in WITHIN.items()),
    )
    columns = ", ".join(kept)
    op.execute(
        f"INSERT INTO payments ({columns}, refund_requested) SELECT {columns}, {REQUESTED} FROM payments_before"  # noqa: S608 - constants
    )
    op.drop_table("payments_before")
    op.create_index("payments_one_open_per_order", "payments", ["order_id"], unique=True, sqlite_where=sa.text(OPEN))
    op.create_index(
        "payments_to_check", "payments", ["next_check_ms"], sqlite_where=sa.text("next_check_ms IS NOT NULL")
    )
    op.create_index("payments_captured", "payments", ["id"], sqlite_where=sa.text("captured_amount > 0"))


def _create_reconciliations() -> None:
    op.create_table(
        "reconciliations",
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
    )
    op.create_index("reconciliations_by_day", "reconciliations", ["provider", "from_ms"])
    op.create_table(
        "reconciliation_differences",
        sa.Column("reconciliation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("movement", sa.Text, nullable=False),
        sa.Column("payment_id", sa.Text, nullable=False),
        sa.Column("refund_id", sa.Text),
        sa.Column("theirs", sa.BigInteger),
        sa.Column("ours", sa.BigInteger),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("explained", sa.Boolean, nullable=False),
        sa.Column("words", sa.Text, nullable=False),
    )
