"""Orders, their lines and their moves."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("sale_id", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("pay_by_ms", sa.BigInteger, nullable=False),
        sa.Column("payment_id", sa.BigInteger),
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
    )
    op.create_index("orders_of_customer", "orders", ["customer_id", "id"])
    unpaid = sa.text("status = 'pending_payment'")
    op.create_index("orders_to_pay", "orders", ["pay_by_ms", "id"], sqlite_where=unpaid, postgresql_where=unpaid)
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sku_id", sa.BigInteger, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_amount", sa.BigInteger, nullable=False),
        sa.CheckConstraint("quantity > 0", name="quantity_is_positive"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "order_moves",
        sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("from_status", sa.Text),
        sa.Column("to_status", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    create_tables()
