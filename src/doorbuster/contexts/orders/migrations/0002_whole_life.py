"""Who fulfils an order and how, where it goes, what is given back of it."""

import sqlalchemy as sa
from alembic import op

revision = "0002_whole_life"

# As text, because SQLite adds a constraint only together with its column.
COLUMNS = (
    "merchant_id BIGINT NOT NULL DEFAULT 0",
    "fulfilment TEXT NOT NULL DEFAULT 'parcel' CONSTRAINT known_fulfilment CHECK (fulfilment IN ('parcel', 'takeout'))",
    "shipping_amount BIGINT NOT NULL DEFAULT 0 CONSTRAINT shipping_not_negative CHECK (shipping_amount >= 0)",
    "discount_amount BIGINT NOT NULL DEFAULT 0 CONSTRAINT discount_not_negative CHECK (discount_amount >= 0)",
    "refunded_amount BIGINT NOT NULL DEFAULT 0 "
    "CONSTRAINT refunded_within_total CHECK (refunded_amount >= 0 AND refunded_amount <= total_amount)",
    "destination TEXT",
    "contact_email TEXT",
    "note TEXT NOT NULL DEFAULT ''",
    "sent_off_ms BIGINT",
)


def upgrade() -> None:
    for column in COLUMNS:
        op.execute(f"ALTER TABLE orders ADD COLUMN {column}")
    op.create_index("orders_of_merchant", "orders", ["merchant_id", "status", "id"])
    shipped = sa.text("status = 'shipped'")
    op.create_index("orders_to_complete", "orders", ["sent_off_ms"], sqlite_where=shipped, postgresql_where=shipped)
    op.create_table(
        "order_refunds",
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
    # Orders whose money went back before refunds had rows: one refund each, of everything.
    op.execute(
        "INSERT INTO order_refunds (order_id, n, amount, cause, reason, actor, restock, succeeded_ms, at_ms) "
        "SELECT o.id, 1, o.total_amount, "
        "CASE WHEN b.cause LIKE 'late payment %' THEN 'late-payment' ELSE b.cause END, b.cause, b.actor, false, "
        "(SELECT e.at_ms FROM order_moves e WHERE e.order_id = o.id AND e.to_status = 'refunded'), b.at_ms "
        "FROM orders o JOIN order_moves b ON b.order_id = o.id AND b.to_status = 'refunding' WHERE o.total_amount > 0"
    )
    op.execute("UPDATE orders SET refunded_amount = total_amount WHERE status IN ('refunding', 'refunded')")
    op.create_table(
        "order_refund_lines",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("refund", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity > 0", name="refunded_quantity_is_positive"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("scope", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["at_ms"])
