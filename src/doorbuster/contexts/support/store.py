"""The rows of conversations. What changes a conversation holds its row's lock; people's counters come after it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import sqlalchemy as sa

from doorbuster.contexts.support.model import Conversation, Draft, Message
from doorbuster.contexts.support.tables import conversations, messages, people, turns
from doorbuster.contracts.support import Side
from doorbuster.platform.sql.database import Tx

Ended = Literal["closed", "transferred", "released", "away"]
"""Why an agent's turn is over."""

_COLUMNS = [conversations.c[name] for name in Conversation.__struct_fields__]
_MESSAGE = [messages.c[name] for name in Message.__struct_fields__]
# Literals, so that the partial index is known to apply.
_WAITING = sa.text("status = 'open' AND agent_id IS NULL")


def insert(tx: Tx, conversation: Conversation) -> None:
    row = {name: getattr(conversation, name) for name in Conversation.__struct_fields__}
    tx.execute(sa.insert(conversations).values(**row))


def find(tx: Tx, conversation_id: int) -> Conversation | None:
    return _first(tx, sa.select(*_COLUMNS).where(conversations.c.id == conversation_id))


def locked(tx: Tx, conversation_id: int) -> Conversation | None:
    """As it is, and stays until the end of the transaction."""
    return _first(tx, sa.select(*_COLUMNS).where(conversations.c.id == conversation_id).with_for_update())


def locked_all(tx: Tx, conversation_ids: Iterable[int]) -> list[Conversation]:
    """In the order of their ids, so that two who lock some of the same wait for each other in one direction only."""
    statement = sa.select(*_COLUMNS).where(conversations.c.id.in_(sorted(conversation_ids)))
    return _all(tx, statement.order_by(conversations.c.id).with_for_update())


def longest_waiting(tx: Tx) -> Conversation | None:
    """The first in the queue whom nobody is just taking; locked."""
    first = sa.select(*_COLUMNS).where(_WAITING).order_by(conversations.c.ticket).limit(1)
    return _first(tx, first.with_for_update(skip_locked=True))


def unanswered_since(tx: Tx, before_ms: int, limit: int) -> list[int]:
    """Conversations whose agent has not answered since then, the longest first."""
    statement = (
        sa.select(conversations.c.id)
        .where(conversations.c.unanswered_ms.is_not(None), conversations.c.unanswered_ms <= before_ms)
        .order_by(conversations.c.unanswered_ms, conversations.c.id)
        .limit(limit)
    )
    return list(tx.execute(statement).scalars())


def found(tx: Tx, conversation_ids: Iterable[int]) -> list[Conversation]:
    statement = sa.select(*_COLUMNS).where(conversations.c.id.in_(list(conversation_ids)))
    return _all(tx, statement.order_by(conversations.c.id))


def list_of(
    tx: Tx, side: Side, account_id: int, before: int, limit: int, *, only_open: bool = False
) -> list[Conversation]:
    """A person's own conversations with ids below `before`, newest first."""
    whose = conversations.c.customer_id if side == "customer" else conversations.c.agent_id
    statement = sa.select(*_COLUMNS).where(whose == account_id, conversations.c.id < before)
    if only_open:
        statement = statement.where(conversations.c.status == "open")
    return _all(tx, statement.order_by(conversations.c.id.desc()).limit(limit))


def waiting(tx: Tx, after: int, limit: int) -> list[Conversation]:
    """The queue behind ticket `after`."""
    statement = sa.select(*_COLUMNS).where(_WAITING, conversations.c.ticket > after)
    return _all(tx, statement.order_by(conversations.c.ticket).limit(limit))


def sent_before(tx: Tx, conversation_id: int, sender_id: int, client_id: str) -> Message | None:
    statement = sa.select(*_MESSAGE).where(
        messages.c.conversation_id == conversation_id,
        messages.c.sender_id == sender_id,
        messages.c.client_id == client_id,
    )
    return next(iter(_messages(tx, statement)), None)


def append(
    tx: Tx, conversation: Conversation, sender_id: int, side: Side, draft: Draft, now_ms: int, *, waits: bool
) -> Message:
    """Writes the next message of a locked conversation. `waits`: an agent owes the answer now."""
    number = conversation.last_number + 1
    message = Message(conversation.id, number, sender_id, side, draft.client_id, draft.text, now_ms)
    unanswered = conversation.unanswered_ms if conversation.unanswered_ms is not None else now_ms
    read = conversations.c.customer_read if side == "customer" else conversations.c.support_read
    tx.execute(
        sa.update(conversations)
        .where(conversations.c.id == conversation.id)
        .values(
            {
                conversations.c.last_number: number,
                read: number,
                conversations.c.changed_ms: now_ms,
                conversations.c.unanswered_ms: unanswered if waits else None,
            }
        )
    )
    tx.execute(sa.insert(messages).values({name: getattr(message, name) for name in Message.__struct_fields__}))
    return message


def messages_after(tx: Tx, conversation_id: int, after: int, limit: int) -> list[Message]:
    """Ascending."""
    statement = sa.select(*_MESSAGE).where(messages.c.conversation_id == conversation_id, messages.c.number > after)
    return _messages(tx, statement.order_by(messages.c.number).limit(limit))


def messages_before(tx: Tx, conversation_id: int, before: int, limit: int) -> list[Message]:
    """The newest below `before`, ascending."""
    statement = sa.select(*_MESSAGE).where(messages.c.conversation_id == conversation_id, messages.c.number < before)
    return _messages(tx, statement.order_by(messages.c.number.desc()).limit(limit))[::-1]


def mark_read(tx: Tx, conversation_id: int, side: Side, number: int) -> bool:
    """Moves a mark forward, not beyond what there is. Whether it moved."""
    mark = conversations.c.customer_read if side == "customer" else conversations.c.support_read
    moved = tx.execute(
        sa.update(conversations)
        .where(conversations.c.id == conversation_id, mark < number, conversations.c.last_number >= number)
        .values({mark: number})
    )
    return moved.rowcount == 1


def begin_turn(tx: Tx, conversation: Conversation, agent_id: int, now_ms: int) -> Conversation:
    """A locked conversation without an agent gets one, whose time to answer runs from now."""
    n = conversation.turns + 1
    tx.execute(
        sa.update(conversations)
        .where(conversations.c.id == conversation.id, conversations.c.agent_id.is_(None))
        .values(agent_id=agent_id, turns=n, changed_ms=now_ms, unanswered_ms=now_ms)
    )
    tx.execute(sa.insert(turns).values(conversation_id=conversation.id, n=n, agent_id=agent_id, began_ms=now_ms))
    return _again(tx, conversation.id)


def end_turn(tx: Tx, conversation: Conversation, cause: Ended, now_ms: int) -> Conversation:
    """The agent of a locked conversation leaves it: it waits again, or keeps them as its last one if it is closed."""
    values: dict[str, Any] = {"changed_ms": now_ms, "unanswered_ms": None}
    values |= {"status": "closed"} if cause == "closed" else {"agent_id": None}
    tx.execute(sa.update(conversations).where(conversations.c.id == conversation.id).values(**values))
    tx.execute(
        sa.update(turns)
        .where(turns.c.conversation_id == conversation.id, turns.c.ended_ms.is_(None))
        .values(ended_ms=now_ms, ended_by=cause)
    )
    return _again(tx, conversation.id)


def know(tx: Tx, account_id: int, side: Side) -> None:
    tx.insert_if_absent(people, {"account_id": account_id, "side": side, "open": 0})


def is_known(tx: Tx, account_id: int, side: Side) -> bool:
    statement = sa.select(people.c.account_id).where(people.c.account_id == account_id, people.c.side == side)
    return tx.execute(statement).first() is not None


def count_up(tx: Tx, account_id: int, side: Side, below: int) -> bool:
    """One open conversation more, if there are fewer than `below`. Whether there were."""
    counted = tx.execute(
        sa.update(people)
        .where(people.c.account_id == account_id, people.c.side == side, people.c.open < below)
        .values(open=people.c.open + 1)
    )
    return counted.rowcount == 1


def count_down(tx: Tx, account_id: int, side: Side) -> None:
    tx.execute(
        sa.update(people).where(people.c.account_id == account_id, people.c.side == side).values(open=people.c.open - 1)
    )


def _again(tx: Tx, conversation_id: int) -> Conversation:
    conversation = find(tx, conversation_id)
    assert conversation is not None, "conversations are never deleted"
    return conversation


def _first(tx: Tx, statement: sa.Select[Any]) -> Conversation | None:
    row = tx.execute(statement).first()
    return None if row is None else Conversation(*row)


def _all(tx: Tx, statement: sa.Select[Any]) -> list[Conversation]:
    return [Conversation(*row) for row in tx.execute(statement)]


def _messages(tx: Tx, statement: sa.Select[Any]) -> list[Message]:
    return [Message(*row) for row in tx.execute(statement)]
