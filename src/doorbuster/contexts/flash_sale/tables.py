"""The flash sale's tables. Indexes lead with the sale, so that old sales stay cold."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

sales = sa.Table(
    "sales",
    metadata,
    sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("merchant_id", sa.BigInteger, nullable=False),
    sa.Column("sku_id", sa.BigInteger, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("price_amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("limit_per_customer", sa.BigInteger, nullable=False),
    sa.Column("pay_within_ms", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

# The hot row: narrow, and apart from what never changes.
allotments = sa.Table(
    "allotments",
    metadata,
    sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("units_left", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("opens_ms", sa.BigInteger, nullable=False),
    sa.Column("closes_ms", sa.BigInteger, nullable=False),
    sa.Column("guarded", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("units_left >= 0 AND units_left <= units", name="no_oversell"),
    sa.Index("allotments_by_close", "closes_ms"),
    # Only sales with something to give back after their close: it stays small however many sales there were.
    sa.Index(
        "allotments_to_return",
        "closes_ms",
        sqlite_where=sa.text("units_left > 0"),
        postgresql_where=sa.text("units_left > 0"),
    ),
)

# Sales that are to be, while the warehouse is asked for their units.
sale_plans = sa.Table(
    "sale_plans",
    metadata,
    sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("sale", sa.LargeBinary, nullable=False),
    sa.Column("planned_ms", sa.BigInteger, nullable=False),
)

allotment_returns = sa.Table(
    "allotment_returns",
    metadata,
    sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("quantity > 0", name="return_is_positive"),
    sqlite_with_rowid=False,
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("order_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("sale_id", sa.BigInteger, nullable=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("claimed_ms", sa.BigInteger, nullable=False),
    sa.Column("released_ms", sa.BigInteger),
    sa.UniqueConstraint("sale_id", "customer_id", "key", name="one_claim_per_key"),
    sa.CheckConstraint("quantity > 0", name="quantity_is_positive"),
)

quotas = sa.Table(
    "quotas",
    metadata,
    sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("limit_per_customer", sa.BigInteger, nullable=False),
    sa.Column("given_back", sa.Integer, nullable=False),
    sa.CheckConstraint("used >= 0 AND used <= limit_per_customer", name="within_limit"),
    sqlite_with_rowid=False,
)

# One row per claim in a sale with a waiting room: its key is what makes an admission good for one claim only.
spent_admissions = sa.Table(
    "spent_admissions",
    metadata,
    sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ticket_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("order_id", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
