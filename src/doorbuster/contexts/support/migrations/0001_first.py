"""Conversations, their messages, their agents."""

import sqlalchemy as sa
from alembic import op

from doorbuster.platform.bus.tables import create_tables
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.types import BigKey

revision = "0001_first"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", BigKey, primary_key=True, autoincrement=False),
        sa.Column("customer_id", sa.BigInteger, nullable=False),
        sa.Column("agent_id", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("order_id", sa.BigInteger),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("customer_read", sa.BigInteger, nullable=False),
        sa.Column("support_read", sa.BigInteger, nullable=False),
        sa.Column("opened_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("ticket", sa.BigInteger, nullable=False),
        sa.Column("turns", sa.BigInteger, nullable=False),
        sa.Column("unanswered_ms", sa.BigInteger),
        sa.CheckConstraint("status IN ('open', 'closed')", name="known_status"),
        sa.CheckConstraint("customer_read BETWEEN 0 AND last_number", name="customer_read_what_is_there"),
        sa.CheckConstraint("support_read BETWEEN 0 AND last_number", name="support_read_what_is_there"),
    )
    op.create_index("conversations_of_customer", "conversations", ["customer_id", "id"])
    op.create_index("conversations_of_agent", "conversations", ["agent_id", "id"])
    op.create_index(
        "conversations_waiting",
        "conversations",
        ["ticket"],
        sqlite_where=sa.text("status = 'open' AND agent_id IS NULL"),
        postgresql_where=sa.text("status = 'open' AND agent_id IS NULL"),
    )
    op.create_index(
        "conversations_unanswered",
        "conversations",
        ["unanswered_ms", "id"],
        sqlite_where=sa.text("unanswered_ms IS NOT NULL"),
        postgresql_where=sa.text("unanswered_ms IS NOT NULL"),
    )
    op.create_table(
        "messages",
        sa.Column("conversation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sender_id", sa.BigInteger, nullable=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("conversation_id", "sender_id", "client_id", name="sent_once"),
        sa.CheckConstraint("number > 0", name="number_is_positive"),
        sa.CheckConstraint("side IN ('customer', 'support')", name="known_side"),
    )
    op.create_table(
        "turns",
        sa.Column("conversation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("agent_id", sa.BigInteger, nullable=False),
        sa.Column("began_ms", sa.BigInteger, nullable=False),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("ended_by", sa.Text),
        sa.CheckConstraint("(ended_ms IS NULL) = (ended_by IS NULL)", name="an_end_has_a_cause"),
    )
    op.create_index(
        "one_agent_at_a_time",
        "turns",
        ["conversation_id"],
        unique=True,
        sqlite_where=sa.text("ended_ms IS NULL"),
        postgresql_where=sa.text("ended_ms IS NULL"),
    )
    op.create_table(
        "people",
        sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("side", sa.Text, primary_key=True),
        sa.Column("open", sa.BigInteger, nullable=False),
        sa.CheckConstraint("open >= 0", name="open_not_negative"),
        sa.CheckConstraint("side IN ('customer', 'support')", name="known_side"),
    )
    create_tables()
    idempotency.create_all(op.get_bind(), checkfirst=False)
