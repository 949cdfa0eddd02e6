"""The orders' tables."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("sale_id", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    # The number of moves so far; the latest move has it as its number.
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("total_amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("pay_by_ms", sa.BigInteger, nullable=False),
    sa.Column("payment_id", sa.BigInteger),
    sa.Column("merchant_id", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("fulfilment", sa.Text, nullable=False, server_default="parcel"),
    sa.Column("shipping_amount", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("discount_amount", sa.BigInteger, nullable=False, server_default="0"),
    # What was asked back so far, in all: the sum of the refunds.
    sa.Column("refunded_amount", sa.BigInteger, nullable=False, server_default="0"),
    # JSON; nobody looks for orders by where they go.
    sa.Column("destination", sa.Text),
    sa.Column("contact_email", sa.Text),
    sa.Column("note", sa.Text, nullable=False, server_default=""),
    sa.Column("sent_off_ms", sa.BigInteger),
    sa.CheckConstraint("fulfilment IN ('parcel', 'takeout')", name="known_fulfilment"),
    sa.CheckConstraint("shipping_amount >= 0", name="shipping_not_negative"),
    sa.CheckConstraint("discount_amount >= 0", name="discount_not_negative"),
    sa.CheckConstraint("refunded_amount >= 0 AND refunded_amount <= total_amount", name="refunded_within_total"),
    sa.CheckConstraint("total_amount >= 0", name="total_not_negative"),
    sa.CheckConstraint(
        "status IN ('pending_payment', 'paid', 'shipped', 'delivering', 'completed', 'cancelled', 'refunding', "
        "'refunded')",
        name="known_status",
    ),
    sa.CheckConstraint(
        "status NOT IN ('paid', 'shipped', 'delivering', 'completed', 'refunding', 'refunded') "
        "OR payment_id IS NOT NULL",
        name="paid_by_something",
    ),
    sa.Index("orders_of_customer", "customer_id", "id"),
    sa.Index("orders_of_merchant", "merchant_id", "status", "id"),
    # Only parcels under way.
    sa.Index(
        "orders_to_complete",
        "sent_off_ms",
        sqlite_where=sa.text("status = 'shipped'"),
        postgresql_where=sa.text("status = 'shipped'"),
    ),
    # Only the unpaid: it stays small however many orders there are.
    sa.Index(
        "orders_to_pay",
        "pay_by_ms",
        "id",
        sqlite_where=sa.text("status = 'pending_payment'"),
        postgresql_where=sa.text("status = 'pending_payment'"),
    ),
)

lines = sa.Table(
    "order_lines",
    metadata,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sku_id", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("unit_amount", sa.BigInteger, nullable=False),
    sa.CheckConstraint("quantity > 0", name="quantity_is_positive"),
    sqlite_with_rowid=False,
)

moves = sa.Table(
    "order_moves",
    metadata,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("from_status", sa.Text),
    sa.Column("to_status", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)

# What is asked back of the order's own payment, whole or in part; `n` counts from 1 and `cause` is what payments hear.
refunds = sa.Table(
    "order_refunds",
    metadata,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("restock", sa.Boolean, nullable=False),
    sa.Column("succeeded_ms", sa.BigInteger),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("order_id", "cause", name="one_refund_per_cause"),
    sa.CheckConstraint("amount > 0", name="refund_is_positive"),
    sqlite_with_rowid=False,
)

refund_lines = sa.Table(
    "order_refund_lines",
    metadata,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("refund", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.CheckConstraint("quantity > 0", name="refunded_quantity_is_positive"),
    sqlite_with_rowid=False,
)
