"""The waiting room's tables."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

# Everything that changes a room locks its row first: arrivals, the draw, each tick, used admissions.
rooms = sa.Table(
    "rooms",
    metadata,
    sa.Column("sale_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("merchant_id", sa.BigInteger, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("opens_ms", sa.BigInteger, nullable=False),
    sa.Column("closes_ms", sa.BigInteger, nullable=False),
    sa.Column("seed", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("arrivals", sa.BigInteger, nullable=False),
    sa.Column("places", sa.BigInteger, nullable=False),
    sa.Column("lot", sa.BigInteger, nullable=False),
    sa.Column("released", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    sa.Column("used_counted", sa.BigInteger, nullable=False),
    sa.Column("expired", sa.BigInteger, nullable=False),
    sa.Column("drawn_ms", sa.BigInteger),
    sa.Column("ticked_ms", sa.BigInteger, nullable=False),
    sa.Column("rate", sa.BigInteger, nullable=False),
    sa.Column("flow", sa.BigInteger, nullable=False),
    sa.Column("used_flow", sa.BigInteger, nullable=False),
    sa.Column("credit", sa.BigInteger, nullable=False),
    sa.Column("releaser", sa.Text, nullable=False),
    sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
    sa.Column("flow_high", sa.BigInteger, nullable=False),
    sa.Column("flow_low", sa.BigInteger, nullable=False),
    sa.CheckConstraint("released >= 0 AND released <= places AND places <= arrivals", name="released_in_order"),
    sa.Index("rooms_by_close", "closes_ms"),
)

tickets = sa.Table(
    "tickets",
    metadata,
    sa.Column("ticket_id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("sale_id", sa.BigInteger, nullable=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("place", sa.BigInteger),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("arrived_ms", sa.BigInteger, nullable=False),
    sa.Column("admitted_ms", sa.BigInteger),
    sa.Column("expires_ms", sa.BigInteger),
    sa.UniqueConstraint("sale_id", "customer_id", name="one_ticket_per_customer"),
    sa.UniqueConstraint("sale_id", "place", name="one_ticket_per_place"),
    sa.CheckConstraint("state IN ('waiting', 'admitted', 'used', 'expired')", name="known_state"),
    sa.CheckConstraint("(state = 'waiting') = (admitted_ms IS NULL)", name="admitted_or_waiting"),
    # Only admissions that are open: small, however many people there were.
    sa.Index(
        "tickets_admitted",
        "sale_id",
        "expires_ms",
        sqlite_where=sa.text("state = 'admitted'"),
        postgresql_where=sa.text("state = 'admitted'"),
    ),
)
