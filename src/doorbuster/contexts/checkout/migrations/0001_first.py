"""Carts, checkouts, coupons and ways of shipping."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "carts",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("owner_id", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("digest", sa.LargeBinary),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("order_id", sa.BigInteger),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("owner_id", "key", name="one_cart_per_key"),
        sa.CheckConstraint("status IN ('open', 'ordered', 'merged')", name="known_status"),
        sa.CheckConstraint("(status = 'ordered') = (order_id IS NOT NULL)", name="ordered_with_an_order"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "checkouts",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("cart_id", sa.BigInteger, nullable=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("coupon_id", sa.BigInteger),
        sa.Column("draft", sa.LargeBinary, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("due_ms", sa.BigInteger),
        sa.Column("begun_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("reason_skus", sa.Text),
        sa.CheckConstraint("status IN ('placing', 'failing', 'placed', 'failed')", name="known_status"),
        sa.CheckConstraint("total_amount > 0", name="total_is_positive"),
        sa.CheckConstraint(
            "status NOT IN ('placing', 'failing') OR due_ms IS NOT NULL", name="somebody_looks_after_it"
        ),
        sa.CheckConstraint("status <> 'failed' OR reason IS NOT NULL", name="failed_for_a_reason"),
    )
    op.create_table(
        "coupons",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("merchant_id", sa.BigInteger, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("percent", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("minimum", sa.BigInteger, nullable=False),
        sa.Column("valid_from_ms", sa.BigInteger, nullable=False),
        sa.Column("valid_to_ms", sa.BigInteger, nullable=False),
        sa.Column("total_limit", sa.BigInteger),
        sa.Column("customer_limit", sa.BigInteger),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("merchant_id", "code", name="one_coupon_per_code"),
        sa.CheckConstraint("used >= 0 AND (total_limit IS NULL OR used <= total_limit)", name="within_limit"),
        sa.CheckConstraint("kind IN ('percent', 'amount')", name="known_kind"),
    )
    op.create_table(
        "redemptions",
        sa.Column("order_id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("coupon_id", sa.BigInteger, nullable=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("given_back_ms", sa.BigInteger),
    )
    op.create_table(
        "coupon_uses",
        sa.Column("coupon_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.Column("customer_limit", sa.BigInteger, nullable=False),
        sa.CheckConstraint("used >= 0 AND used <= customer_limit", name="within_customer_limit"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shipping_methods",
        sa.Column("merchant_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("code", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("fulfilment", sa.Text, nullable=False),
        sa.Column("currency", sa.Text),
        sa.Column("fee", sa.BigInteger, nullable=False),
        sa.Column("fee_per_unit", sa.BigInteger, nullable=False),
        sa.Column("free_from", sa.BigInteger),
        sa.CheckConstraint("fulfilment IN ('parcel', 'takeout')", name="known_fulfilment"),
        sa.CheckConstraint("fee >= 0 AND fee_per_unit >= 0", name="fees_not_negative"),
        sqlite_with_rowid=False,
    )
    due = sa.text("due_ms IS NOT NULL")
    op.create_index("checkouts_due", "checkouts", ["due_ms"], sqlite_where=due, postgresql_where=due)
    op.create_index("redemptions_of_coupon", "redemptions", ["coupon_id", "customer_id"])
    idempotency.create_all(op.get_bind(), checkfirst=False)
    create_tables()
