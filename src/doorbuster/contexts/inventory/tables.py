"""The inventory's tables. Stock leads with the SKU: that is what is asked for."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


warehouses = sa.Table(
    "warehouses",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("merchant_id", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("merchant_id", "code", name="warehouses_one_per_code"),
)

# `version` guards optimistic writes, `fence` those behind a lock that may have been lost.
stock = sa.Table(
    "stock",
    metadata,
    sa.Column("sku_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("warehouse_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("priority", sa.Integer, nullable=False),
    _number("received"),
    _number("returned"),
    _number("on_hand"),
    _number("held"),
    _number("allotted"),
    _number("sold"),
    _number("written_off"),
    _number("transferred_in"),
    _number("transferred_out"),
    _number("version"),
    _number("fence"),
    sa.CheckConstraint(
        "received >= 0 AND returned >= 0 AND on_hand >= 0 AND held >= 0 AND allotted >= 0 AND sold >= 0 "
        "AND written_off >= 0 AND transferred_in >= 0 AND transferred_out >= 0",
        name="stock_never_negative",
    ),
    sa.CheckConstraint("held + allotted <= on_hand", name="stock_promised_is_there"),
    sa.CheckConstraint(
        "received + returned + transferred_in - transferred_out = on_hand + sold + written_off",
        name="stock_adds_up",
    ),
    sqlite_with_rowid=False,
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("sku_id", sa.BigInteger, nullable=False),
    sa.Column("warehouse_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    sa.Column("cause_kind", sa.Text, nullable=False),
    sa.Column("cause_id", sa.BigInteger, nullable=False),
    sa.Column("cause_n", sa.BigInteger, nullable=False),
    sa.Column("sale_id", sa.BigInteger, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("quantity > 0", name="ledger_quantity"),
    sa.UniqueConstraint(
        "cause_id", "kind", "cause_n", "sku_id", "warehouse_id", "cause_kind", name="ledger_posted_once"
    ),
    sa.Index("ledger_by_sku", "sku_id", "id"),
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("order_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("sale_id", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("ended_by", sa.Text, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("status IN ('held', 'sold', 'released')", name="holds_status"),
    sa.CheckConstraint("(status = 'released') = (ended_by <> '')", name="holds_ended_by"),
    sa.Index(
        "holds_due",
        "until_ms",
        sqlite_where=sa.text("status = 'held'"),
        postgresql_where=sa.text("status = 'held'"),
    ),
)

hold_lines = sa.Table(
    "hold_lines",
    metadata,
    sa.Column("order_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("sku_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("warehouse_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("quantity", sa.BigInteger, nullable=False),
    _number("returned"),
    sa.CheckConstraint("quantity > 0", name="hold_lines_quantity"),
    sa.CheckConstraint("returned BETWEEN 0 AND quantity", name="hold_lines_returned"),
    sqlite_with_rowid=False,
)

allotments = sa.Table(
    "allotments",
    metadata,
    sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("sku_id", sa.BigInteger, nullable=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

allotment_lines = sa.Table(
    "allotment_lines",
    metadata,
    sa.Column("sale_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("warehouse_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("units", sa.BigInteger, nullable=False),
    _number("sold"),
    _number("returned"),
    sa.CheckConstraint("units > 0 AND sold >= 0 AND returned >= 0", name="allotment_lines_not_negative"),
    sa.CheckConstraint("sold + returned <= units", name="allotment_lines_within"),
    sqlite_with_rowid=False,
)
