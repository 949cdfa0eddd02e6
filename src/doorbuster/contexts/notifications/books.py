"""Notifications prove their own books: nobody forgotten, nothing told twice, nothing held for ever."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from doorbuster.contexts.notifications.tables import messages, notices, streams
from doorbuster.contracts.audit import BREACHES_SHOWN, Check
from doorbuster.platform.sql.database import Tx

FORGOTTEN_MS = 5 * 60_000
"""How long after the end of its lease a message is a breach: the sender looks every half second."""


def checks(tx: Tx, now_ms: int) -> Sequence[Check]:
    """All on the snapshot of `tx`."""
    return [_written_as_addressed(tx), _leases_end(tx, now_ms - FORGOTTEN_MS), _streams_have_no_gaps(tx), _dead(tx)]


def _written_as_addressed(tx: Tx) -> Check:
    """Notices say how many messages they became; messages that nobody asked for do not exist."""
    by_notice = (
        sa.select(notices.c.source, notices.c.seq, sa.func.sum(notices.c.written).label("said"))
        .group_by(notices.c.source, notices.c.seq)
        .subquery()
    )
    by_message = (
        sa.select(messages.c.source, messages.c.seq, sa.func.count().label("there"))
        .group_by(messages.c.source, messages.c.seq)
        .subquery()
    )
    # Messages go one by one when they are old, their notice after the last of them: fewer is no breach, more is.
    wrong = tx.execute(
        sa.select(by_message.c.source, by_message.c.seq, by_message.c.there, by_notice.c.said)
        .select_from(
            by_message.outerjoin(
                by_notice, sa.and_(by_notice.c.source == by_message.c.source, by_notice.c.seq == by_message.c.seq)
            )
        )
        .where(by_message.c.there > sa.func.coalesce(by_notice.c.said, 0))
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"event {row.source}-{row.seq}: {row.there} messages, {row.said or 0} were addressed" for row in wrong]
    count = tx.execute(sa.select(sa.func.count()).select_from(messages)).scalar_one()
    return _check("every message comes of a notice", f"{count} messages", breaches)


def _leases_end(tx: Tx, before_ms: int) -> Check:
    stuck = tx.execute(
        sa.select(messages.c.id, messages.c.channel)
        .where(messages.c.status == sa.literal_column("'due'"), messages.c.leased_until_ms < before_ms)
        .order_by(messages.c.id)
        .limit(BREACHES_SHOWN)
    )
    breaches = [f"message {row.id} ({row.channel}) was claimed, and nobody settles it" for row in stuck]
    status = sa.select(messages.c.channel, sa.func.count().label("waiting")).where(
        messages.c.status == sa.literal_column("'due'")
    )
    due = tx.execute(status.group_by(messages.c.channel).order_by(messages.c.channel)).all()
    waiting = tx.execute(
        sa.select(sa.func.count()).where(notices.c.status == sa.literal_column("'waiting'"))
    ).scalar_one()
    detail = ", ".join([f"{waiting} to be addressed", *(f"{row.waiting} to go by {row.channel}" for row in due)])
    return _check("no message is held beyond its lease", detail, breaches)


def _streams_have_no_gaps(tx: Tx) -> Check:
    """Numbers are unique by an index: those from the lowest that is kept to the last leave no gap."""
    there = (
        sa.select(
            messages.c.account_id,
            sa.func.count().label("count_"),
            sa.func.min(messages.c.number).label("lowest"),
            sa.func.max(messages.c.number).label("highest"),
        )
        .where(messages.c.number.is_not(None))
        .group_by(messages.c.account_id)
        .subquery()
    )
    wrong = tx.execute(
        sa.select(there, streams.c.last)
        .select_from(there.outerjoin(streams, streams.c.account_id == there.c.account_id))
        .where(
            sa.or_(
                there.c.highest != sa.func.coalesce(streams.c.last, 0),
                there.c.count_ != there.c.highest - there.c.lowest + 1,
            )
        )
        .limit(BREACHES_SHOWN)
    )
    breaches = [
        f"account {row.account_id}: {row.count_} notifications from {row.lowest} to {row.highest}, last is {row.last}"
        for row in wrong
    ]
    return _check("in-app streams are numbered without gaps", "as their counters say", breaches)


def _dead(tx: Tx) -> Check:
    """Counted, not a breach: an address that does not exist is nobody's fault here."""
    letters = tx.execute(
        sa.select(sa.func.count()).select_from(messages).where(messages.c.status == sa.literal_column("'dead'"))
    ).scalar_one()
    unaddressed = tx.execute(
        sa.select(sa.func.count()).select_from(notices).where(notices.c.status == sa.literal_column("'dead'"))
    ).scalar_one()
    return _check("dead letters are kept", f"{letters} dead messages, {unaddressed} notices without address", [])


def _check(name: str, detail: str, breaches: Sequence[str]) -> Check:
    return Check(name, "broken" if breaches else "holds", detail, tuple(breaches))
