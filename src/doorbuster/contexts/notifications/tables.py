"""Whom to tell of what, and the messages that do it."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

# One row per event and part: written with the event's inbox row, addressed later.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("account_id", sa.BigInteger),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_try_ms", sa.BigInteger, nullable=False),
    # How many messages it became.
    sa.Column("written", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.CheckConstraint("status IN ('waiting', 'addressed', 'dead')", name="known_status"),
    sa.CheckConstraint("written = 0 OR status = 'addressed'", name="written_when_addressed"),
    sa.Index(
        "notices_waiting",
        "next_try_ms",
        sqlite_where=sa.text("status = 'waiting'"),
        postgresql_where=sa.text("status = 'waiting'"),
    ),
    sa.Index("notices_by_age", "at_ms"),
)

messages = sa.Table(
    "messages",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    # The account, the webhook endpoint, or 0 for the shop's robot.
    sa.Column("recipient_id", sa.BigInteger, nullable=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # Never goes back: whoever settles a message proves by it that nobody has claimed it since.
    sa.Column("claims", sa.BigInteger, nullable=False),
    sa.Column("next_try_ms", sa.BigInteger, nullable=False),
    sa.Column("leased_until_ms", sa.BigInteger),
    # The place in the account's in-app stream.
    sa.Column("number", sa.BigInteger),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("sent_ms", sa.BigInteger),
    # One visible notification per event and channel, whatever comes twice.
    sa.UniqueConstraint("source", "seq", "recipient_id", "channel", name="told_once"),
    sa.CheckConstraint("channel IN ('email', 'webhook', 'wecom', 'push')", name="known_channel"),
    sa.CheckConstraint("status IN ('due', 'sent', 'dead')", name="known_status"),
    sa.CheckConstraint("(status = 'sent') = (sent_ms IS NOT NULL)", name="sent_at_some_time"),
    sa.CheckConstraint("(channel = 'push') = (number IS NOT NULL)", name="pushes_are_numbered"),
    sa.Index(
        "messages_due",
        "channel",
        "next_try_ms",
        sqlite_where=sa.text("status = 'due'"),
        postgresql_where=sa.text("status = 'due'"),
    ),
    sa.Index(
        "messages_dead",
        "id",
        sqlite_where=sa.text("status = 'dead'"),
        postgresql_where=sa.text("status = 'dead'"),
    ),
    sa.Index(
        "messages_streamed",
        "account_id",
        "number",
        unique=True,
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    ),
    sa.Index("messages_by_age", "created_ms"),
)

streams = sa.Table(
    "streams",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    # Counted up in the transaction that adds a notification, so that numbers become visible in their order.
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("read_to", sa.BigInteger, nullable=False),
    sa.CheckConstraint("read_to BETWEEN 0 AND last", name="read_what_is_there"),
)

preferences = sa.Table(
    "preferences",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("locale", sa.Text, nullable=False),
    sa.Column("channels", sa.LargeBinary, nullable=False),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.BigInteger, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("endpoints_of_account", "account_id", "id"),
)
