"""The support tables."""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.sql.types import BigKey

metadata = sa.MetaData()

conversations = sa.Table(
    "conversations",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.BigInteger, nullable=False),
    # Of a closed conversation: who had it last.
    sa.Column("agent_id", sa.BigInteger),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("order_id", sa.BigInteger),
    sa.Column("subject", sa.Text, nullable=False),
    # The newest message's number; counted up in the transaction that writes the message.
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("customer_read", sa.BigInteger, nullable=False),
    sa.Column("support_read", sa.BigInteger, nullable=False),
    sa.Column("opened_ms", sa.BigInteger, nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
    # The place in the queue. It is kept, so that who comes back to the queue stands where they stood.
    sa.Column("ticket", sa.BigInteger, nullable=False),
    # How many agents have had it; the latest turn has it as its number.
    sa.Column("turns", sa.BigInteger, nullable=False),
    # Since when the customer has been waiting for the agent's answer; null when it is the customer's turn.
    sa.Column("unanswered_ms", sa.BigInteger),
    sa.CheckConstraint("status IN ('open', 'closed')", name="known_status"),
    sa.CheckConstraint("customer_read BETWEEN 0 AND last_number", name="customer_read_what_is_there"),
    sa.CheckConstraint("support_read BETWEEN 0 AND last_number", name="support_read_what_is_there"),
    sa.Index("conversations_of_customer", "customer_id", "id"),
    sa.Index("conversations_of_agent", "agent_id", "id"),
    sa.Index(
        "conversations_waiting",
        "ticket",
        sqlite_where=sa.text("status = 'open' AND agent_id IS NULL"),
        postgresql_where=sa.text("status = 'open' AND agent_id IS NULL"),
    ),
    sa.Index(
        "conversations_unanswered",
        "unanswered_ms",
        "id",
        sqlite_where=sa.text("unanswered_ms IS NOT NULL"),
        postgresql_where=sa.text("unanswered_ms IS NOT NULL"),
    ),
)

messages = sa.Table(
    "messages",
    metadata,
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

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("conversation_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("agent_id", sa.BigInteger, nullable=False),
    sa.Column("began_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),
    sa.Column("ended_by", sa.Text),
    sa.CheckConstraint("(ended_ms IS NULL) = (ended_by IS NULL)", name="an_end_has_a_cause"),
    # One agent at a time, whatever the code does.
    sa.Index(
        "one_agent_at_a_time",
        "conversation_id",
        unique=True,
        sqlite_where=sa.text("ended_ms IS NULL"),
        postgresql_where=sa.text("ended_ms IS NULL"),
    ),
)

people = sa.Table(
    "people",
    metadata,
    sa.Column("account_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("side", sa.Text, primary_key=True),
    # Open conversations that they take part in; counted up only below a limit, in the transaction that adds one.
    sa.Column("open", sa.BigInteger, nullable=False),
    sa.CheckConstraint("open >= 0", name="open_not_negative"),
    sa.CheckConstraint("side IN ('customer', 'support')", name="known_side"),
)
