"""The catalogue's tables. Lists lead with the status, so that what is not for sale costs shoppers nothing."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("merchant_id", sa.BigInteger, nullable=False),
    sa.Column("title_en", sa.Text),
    sa.Column("title_zh", sa.Text),
    sa.Column("description_en", sa.Text),
    sa.Column("description_zh", sa.Text),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("brand", sa.Text, nullable=False),
    sa.Column("media", sa.Text, nullable=False),  # a JSON array of addresses
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("updated_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("coalesce(length(title_en), 0) + coalesce(length(title_zh), 0) > 0", name="has_a_title"),
    sa.CheckConstraint("length(category) > 0", name="has_a_category"),
    sa.CheckConstraint("status IN ('draft', 'active', 'archived')", name="status_is_known"),
    sa.CheckConstraint("version >= 1", name="version_is_positive"),
    sa.CheckConstraint("updated_ms >= created_ms", name="updated_after_created"),
    sa.Index("products_by_status", "status", "id"),
    sa.Index("products_by_category", "status", "category", "id"),
    sa.Index("products_by_merchant", "merchant_id", "id"),
)

skus = sa.Table(
    "skus",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("product_id", sa.BigInteger, sa.ForeignKey("products.id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False),  # order within the product
    sa.Column("merchant_id", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("price_amount", sa.BigInteger, nullable=False),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.UniqueConstraint("code", "merchant_id", name="one_sku_per_code"),
    sa.UniqueConstraint("product_id", "position", name="one_sku_per_position"),
    sa.CheckConstraint("position >= 0 AND position < 50", name="at_most_50_skus"),
    sa.CheckConstraint("length(code) > 0", name="has_a_code"),
    sa.CheckConstraint("price_amount >= 0 AND price_amount <= 10000000000000", name="price_in_range"),
    sa.CheckConstraint("length(currency) = 3", name="currency_is_a_code"),
)
