"""Support proves its own books: numbers without gaps, one agent at most, counters that count."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.support.tables import conversations, messages, people, turns
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

FORGOTTEN_MS = 5 * 60_000
"""How far behind its time an unanswered conversation is a breach: the sweep runs each second."""


def checks(tx: Tx, now_ms: int, answer_within_ms: int) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [
        _numbers_have_no_gaps(tx),
        _messages_are_the_sides_own(tx),
        _one_agent_at_most(tx),
        _counters_count(tx),
        _nobody_is_forgotten(tx, now_ms - answer_within_ms),
    ]


def _numbers_have_no_gaps(tx: Tx) -> Check:
    """Numbers are unique and above 0 by the table itself: highest = count = last number leaves no gap."""
    sent = (
        sa.select(
            messages.c.conversation_id,
            sa.func.count().label("count_"),
            sa.func.max(messages.c.number).label("highest"),
        )
        .group_by(messages.c.conversation_id)
        .subquery()
    )
    wrong = tx.execute(
        sa.select(conversations.c.id, conversations.c.last_number, sent.c.count_, sent.c.highest)
        .select_from(conversations.outerjoin(sent, sent.c.conversation_id == conversations.c.id))
        .where(
            sa.or_(
                sa.func.coalesce(sent.c.count_, 0) != conversations.c.last_number,
                sa.func.coalesce(sent.c.highest, 0) != conversations.c.last_number,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"conversation {row.id}: last number {row.last_number}, "
        f"{row.count_ or 0} messages, the highest {row.highest or 0}"
        for row in wrong
    ]
    orphans = tx.execute(
        sa.select(messages.c.conversation_id)
        .select_from(messages.outerjoin(conversations, conversations.c.id == messages.c.conversation_id))
        .where(conversations.c.id.is_(None))
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"a message of conversation {each}, which does not exist" for each in orphans]
    count = tx.execute(sa.select(sa.func.count()).select_from(messages)).scalar_one()
    return _check("messages are numbered without gaps", f"{count} messages", breaches)


def _messages_are_the_sides_own(tx: Tx) -> Check:
    """The customer's side is the customer; an agent who wrote has had the conversation."""
    had = sa.and_(turns.c.conversation_id == messages.c.conversation_id, turns.c.agent_id == messages.c.sender_id)
    by_customer = sa.and_(messages.c.side == "customer", messages.c.sender_id == conversations.c.customer_id)
    by_agent = sa.and_(messages.c.side == "support", sa.exists().where(had))
    wrong = tx.execute(
        sa.select(messages.c.conversation_id, messages.c.number, messages.c.sender_id)
        .select_from(messages.join(conversations, conversations.c.id == messages.c.conversation_id))
        .where(sa.not_(sa.or_(by_customer, by_agent)))
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"conversation {row.conversation_id}, message {row.number}: sent by {row.sender_id}, who has no part in it"
        for row in wrong
    ]
    return _check("only those who take part have written", "customers and their agents", breaches)


def _one_agent_at_most(tx: Tx) -> Check:
    """An open conversation's agent is the one whose turn has not ended; turns are numbered without gaps."""
    running = sa.and_(turns.c.conversation_id == conversations.c.id, turns.c.ended_ms.is_(None))
    now_has = sa.case((conversations.c.status == "open", sa.func.coalesce(conversations.c.agent_id, 0)), else_=0)
    counted = (
        sa.select(turns.c.conversation_id, sa.func.count().label("count"), sa.func.max(turns.c.n).label("highest"))
        .group_by(turns.c.conversation_id)
        .subquery()
    )
    wrong = tx.execute(
        sa.select(conversations.c.id, conversations.c.agent_id, turns.c.agent_id.label("by_turns"))
        .select_from(
            conversations.outerjoin(turns, running).outerjoin(counted, counted.c.conversation_id == conversations.c.id)
        )
        .where(
            sa.or_(
                sa.func.coalesce(turns.c.agent_id, 0) != now_has,
                sa.func.coalesce(counted.c.count, 0) != conversations.c.turns,
                sa.func.coalesce(counted.c.highest, 0) != conversations.c.turns,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"conversation {row.id}: agent {row.agent_id}, by its turns {row.by_turns}" for row in wrong]
    return _check("a conversation has one agent at most", "as its turns say", breaches)


def _counters_count(tx: Tx) -> Check:
    breaches: list[str] = []
    for side, whose in (("customer", conversations.c.customer_id), ("support", conversations.c.agent_id)):
        truly = (
            sa.select(whose.label("account_id"), sa.func.count().label("open"))
            .where(conversations.c.status == "open", whose.is_not(None))
            .group_by(whose)
            .subquery()
        )
        counted = sa.select(people).where(people.c.side == side).subquery()
        for one, other in ((truly, counted), (counted, truly)):  # either may lack the person
            wrong = tx.execute(
                sa.select(one.c.account_id, truly.c.open.label("truly"), counted.c.open.label("counted"))
                .select_from(one.outerjoin(other, other.c.account_id == one.c.account_id))
                .where(sa.func.coalesce(truly.c.open, 0) != sa.func.coalesce(counted.c.open, 0))
                .limit(BREACHES_SHOWN)
            )
            found = [
                f"{side} {row.account_id} has {row.truly or 0} open conversations, counted {row.counted or 0}"
                for row in wrong
            ]
            breaches += [each for each in found if each not in breaches]
    return _check("open conversations are counted right", "of customers and agents", breaches)


def _nobody_is_forgotten(tx: Tx, due_ms: int) -> Check:
    """Waiting for an answer that does not come ends in the queue; and only who has an agent waits for one's answer."""
    late = tx.execute(
        sa.select(conversations.c.id)
        .where(conversations.c.unanswered_ms.is_not(None), conversations.c.unanswered_ms < due_ms - FORGOTTEN_MS)
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches = [f"conversation {each} is unanswered far beyond its time" for each in late]
    nobodys = tx.execute(
        sa.select(conversations.c.id)
        .where(
            conversations.c.unanswered_ms.is_not(None),
            sa.or_(conversations.c.agent_id.is_(None), conversations.c.status == "closed"),
        )
        .limit(BREACHES_SHOWN)
    ).scalars()
    breaches += [f"conversation {each} waits for the answer of nobody" for each in nobodys]
    return _check("unanswered conversations return to the queue", "found by query", breaches)


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches[:BREACHES_SHOWN]))
