"""Notices, messages, streams, preferences, webhook endpoints."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "notices",
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
        sa.Column("written", sa.Integer, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.CheckConstraint("status IN ('waiting', 'addressed', 'dead')", name="known_status"),
        sa.CheckConstraint("written = 0 OR status = 'addressed'", name="written_when_addressed"),
    )
    op.create_index(
        "notices_waiting",
        "notices",
        ["next_try_ms"],
        sqlite_where=sa.text("status = 'waiting'"),
        postgresql_where=sa.text("status = 'waiting'"),
    )
    op.create_index("notices_by_age", "notices", ["at_ms"])
    op.create_table(
        "messages",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("recipient_id", sa.BigInteger, nullable=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claims", sa.BigInteger, nullable=False),
        sa.Column("next_try_ms", sa.BigInteger, nullable=False),
        sa.Column("leased_until_ms", sa.BigInteger),
        sa.Column("number", sa.BigInteger),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("sent_ms", sa.BigInteger),
        sa.UniqueConstraint("source", "seq", "recipient_id", "channel", name="told_once"),
        sa.CheckConstraint("channel IN ('email', 'webhook', 'wecom', 'push')", name="known_channel"),
        sa.CheckConstraint("status IN ('due', 'sent', 'dead')", name="known_status"),
        sa.CheckConstraint("(status = 'sent') = (sent_ms IS NOT NULL)", name="sent_at_some_time"),
        sa.CheckConstraint("(channel = 'push') = (number IS NOT NULL)", name="pushes_are_numbered"),
    )
    op.create_index(
        "messages_due",
        "messages",
        ["channel", "next_try_ms"],
        sqlite_where=sa.text("status = 'due'"),
        postgresql_where=sa.text("status = 'due'"),
    )
    op.create_index(
        "messages_dead",
        "messages",
        ["id"],
        sqlite_where=sa.text("status = 'dead'"),
        postgresql_where=sa.text("status = 'dead'"),
    )
    op.create_index(
        "messages_streamed",
        "messages",
        ["account_id", "number"],
        unique=True,
        sqlite_where=sa.text("number IS NOT NULL"),
        postgresql_where=sa.text("number IS NOT NULL"),
    )
    op.create_index("messages_by_age", "messages", ["created_ms"])
    op.create_table(
        "streams",
        sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("read_to", sa.BigInteger, nullable=False),
        sa.CheckConstraint("read_to BETWEEN 0 AND last", name="read_what_is_there"),
    )
    op.create_table(
        "preferences",
        sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("locale", sa.Text, nullable=False),
        sa.Column("channels", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "endpoints",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.BigInteger, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("endpoints_of_account", "endpoints", ["account_id", "id"])
    create_tables()
    idempotency.create_all(op.get_bind(), checkfirst=False)
