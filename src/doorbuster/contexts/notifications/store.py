"""Notices, messages, and what people wish, in SQL. Every settling is conditional on the claim it settles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.notifications.model import (
    LEASE_MS,
    Choice,
    DeadMessage,
    Endpoint,
    Facts,
    Kind,
    Message,
    Notice,
    Preferences,
    Pushed,
)
from doorbuster.contexts.notifications.tables import endpoints, messages, notices, preferences, streams
from doorbuster.contracts.notifications import Channel
from doorbuster.platform.sql.database import Tx

_facts = msgspec.json.Decoder(Facts)
_channels = msgspec.json.Decoder(dict[Kind, tuple[Choice, ...]])
_DUE: sa.ColumnElement[str] = sa.literal_column("'due'")
"""Literals, so that partial indexes are known to apply."""
_DEAD: sa.ColumnElement[str] = sa.literal_column("'dead'")
_WAITING: sa.ColumnElement[str] = sa.literal_column("'waiting'")


def add_notices(tx: Tx, new: Sequence[Notice]) -> None:
    """Those that are not there yet."""
    rows = [
        {
            "source": notice.source,
            "seq": notice.seq,
            "part": notice.part,
            "kind": notice.kind,
            "account_id": notice.account_id,
            "facts": msgspec.json.encode(notice.facts),
            "at_ms": notice.at_ms,
            "status": "waiting",
            "attempts": 0,
            "next_try_ms": notice.at_ms,
            "written": 0,
            "error": "",
        }
        for notice in new
    ]
    tx.insert_all_if_absent(notices, rows)


def waiting(tx: Tx, now_ms: int, limit: int) -> list[Notice]:
    statement = (
        sa.select(notices)
        .where(notices.c.status == _WAITING, notices.c.next_try_ms <= now_ms)
        .order_by(notices.c.next_try_ms)
        .limit(limit)
    )
    return [
        Notice(
            row.source, row.seq, row.part, row.kind, row.account_id, _facts.decode(row.facts), row.at_ms, row.attempts
        )
        for row in tx.execute(statement)
    ]


def _at(notice: Notice) -> sa.ColumnElement[bool]:
    return sa.and_(
        notices.c.source == notice.source,
        notices.c.seq == notice.seq,
        notices.c.part == notice.part,
        notices.c.status == _WAITING,
    )


def postpone(tx: Tx, notice: Notice, next_try_ms: int, error: str, *, dead: bool) -> None:
    tx.execute(
        sa.update(notices)
        .where(_at(notice), notices.c.attempts == notice.attempts)
        .values(
            attempts=notice.attempts + 1,
            next_try_ms=next_try_ms,
            error=error[:500],
            status="dead" if dead else "waiting",
        )
    )


def is_due(tx: Tx, channel: Channel, now_ms: int) -> bool:
    statement = sa.select(messages.c.id).where(*_claimable(channel, now_ms)).limit(1)
    return tx.execute(statement).first() is not None


def _claimable(channel: Channel, now_ms: int) -> Sequence[sa.ColumnElement[bool]]:
    return (
        messages.c.status == _DUE,
        messages.c.channel == channel,
        messages.c.next_try_ms <= now_ms,
        sa.or_(messages.c.leased_until_ms.is_(None), messages.c.leased_until_ms <= now_ms),
    )


def claim(
    tx: Tx, channel: Channel, now_ms: int, limit: int, per_recipient: int, busy: Mapping[int, int]
) -> list[Message]:
    """Leases due messages, the longest waiting first, at most `per_recipient` of one recipient with those `busy`."""
    full = [recipient for recipient, count in busy.items() if count >= per_recipient]
    found = tx.execute(
        sa.select(messages.c.id, messages.c.recipient_id)
        .where(*_claimable(channel, now_ms), messages.c.recipient_id.not_in(full))
        .order_by(messages.c.next_try_ms, messages.c.id)
        .limit(4 * limit)
        .with_for_update(skip_locked=True)
    )
    count = Counter(busy)
    chosen: list[int] = []
    for row in found:
        if len(chosen) < limit and count[row.recipient_id] < per_recipient:
            count[row.recipient_id] += 1
            chosen.append(row.id)
    if not chosen:
        return []
    claimed = tx.execute(
        sa.update(messages)
        .where(messages.c.id.in_(chosen))
        .values(claims=messages.c.claims + 1, attempts=messages.c.attempts + 1, leased_until_ms=now_ms + LEASE_MS)
        .returning(messages)
    ).all()
    return [
        Message(
            id=row.id,
            event_id=f"{row.source}-{row.seq}",
            channel=row.channel,
            recipient_id=row.recipient_id,
            account_id=row.account_id,
            kind=row.kind,
            target=row.target,
            content=row.content,
            attempts=row.attempts,
            claims=row.claims,
            created_ms=row.created_ms,
        )
        for row in sorted(claimed, key=lambda row: (row.next_try_ms, row.id))
    ]


def settle(tx: Tx, message: Message, **values: Any) -> bool:
    """Ends the lease; False if somebody has claimed the message since."""
    statement = sa.update(messages).where(
        messages.c.id == message.id, messages.c.claims == message.claims, messages.c.status == _DUE
    )
    return tx.execute(statement.values(leased_until_ms=None, **values)).rowcount == 1


def dead(tx: Tx, before: int, limit: int) -> list[DeadMessage]:
    """The newest with ids below `before`."""
    statement = (
        sa.select(messages)
        .where(messages.c.status == _DEAD, messages.c.id < before)
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    return [
        DeadMessage(
            row.id,
            f"{row.source}-{row.seq}",
            row.channel,
            row.account_id,
            row.kind,
            row.target,
            row.attempts,
            row.error,
            row.created_ms,
        )
        for row in tx.execute(statement)
    ]


def replay(tx: Tx, message_id: int, now_ms: int) -> str | None:
    """Gives a dead message another life; returns its status afterwards, None if there is no such message.

    Its age begins anew, or it would expire at once.
    """
    at = messages.c.id == message_id
    tx.execute(
        sa.update(messages)
        .where(at, messages.c.status == _DEAD)
        .values(status="due", attempts=0, next_try_ms=now_ms, created_ms=now_ms)
    )
    return tx.execute(sa.select(messages.c.status).where(at)).scalar()


def pushed_after(tx: Tx, account_id: int, after: int, limit: int) -> list[Pushed]:
    return _pushed(tx, sa.and_(messages.c.account_id == account_id, messages.c.number > after), limit, newest=False)


def pushed_before(tx: Tx, account_id: int, before: int, limit: int) -> list[Pushed]:
    """Newest first."""
    return _pushed(tx, sa.and_(messages.c.account_id == account_id, messages.c.number < before), limit, newest=True)


def _pushed(tx: Tx, where: sa.ColumnElement[bool], limit: int, *, newest: bool) -> list[Pushed]:
    order = messages.c.number.desc() if newest else messages.c.number
    statement = sa.select(messages.c.number, messages.c.content).where(where, messages.c.number.is_not(None))
    return [Pushed(row.number, row.content) for row in tx.execute(statement.order_by(order).limit(limit))]


def stream_of(tx: Tx, account_id: int) -> tuple[int, int]:
    """(number of the newest, read up to)."""
    row = tx.execute(sa.select(streams).where(streams.c.account_id == account_id)).first()
    return (row.last, row.read_to) if row else (0, 0)


def mark_read(tx: Tx, account_id: int, number: int) -> None:
    """Never goes back, and never beyond what is there."""
    upto = sa.case((streams.c.last < number, streams.c.last), else_=number)
    tx.execute(
        sa.update(streams).where(streams.c.account_id == account_id, streams.c.read_to < upto).values(read_to=upto)
    )


def preferences_of(tx: Tx, account_ids: Collection[int]) -> dict[int, Preferences]:
    rows = tx.execute(sa.select(preferences).where(preferences.c.account_id.in_(account_ids)))
    return {row.account_id: Preferences(row.locale, _channels.decode(row.channels)) for row in rows}


def put_preferences(tx: Tx, account_id: int, wished: Preferences) -> None:
    values = {"locale": wished.locale, "channels": msgspec.json.encode(wished.channels)}
    tx.execute(
        tx.insert(preferences)
        .values(account_id=account_id, **values)
        .on_conflict_do_update(index_elements=[preferences.c.account_id], set_=values)
    )


def lock_account(tx: Tx, account_id: int) -> None:
    """What is counted per account is counted behind this lock (SQLite has one writer)."""
    tx.insert_if_absent(streams, {"account_id": account_id, "last": 0, "read_to": 0})
    tx.execute(sa.select(streams.c.account_id).where(streams.c.account_id == account_id).with_for_update()).scalar()


def endpoints_of(tx: Tx, account_ids: Collection[int]) -> list[Endpoint]:
    statement = sa.select(endpoints).where(endpoints.c.account_id.in_(account_ids)).order_by(endpoints.c.id)
    return [Endpoint(*row) for row in tx.execute(statement)]


def endpoint(tx: Tx, endpoint_id: int) -> Endpoint | None:
    row = tx.execute(sa.select(endpoints).where(endpoints.c.id == endpoint_id)).first()
    return Endpoint(*row) if row else None


def add_endpoint(tx: Tx, new: Endpoint) -> None:
    tx.execute(sa.insert(endpoints).values(msgspec.structs.asdict(new)))


def delete_endpoint(tx: Tx, account_id: int, endpoint_id: int) -> bool:
    """False if this account has no such endpoint."""
    at = sa.and_(endpoints.c.id == endpoint_id, endpoints.c.account_id == account_id)
    return tx.execute(sa.delete(endpoints).where(at)).rowcount == 1


def purge(tx: Tx, before_ms: int, limit: int) -> int:
    """Deletes sent and dead messages, and settled notices, older than `before_ms`. What is deleted counts as read."""
    old = (
        sa.select(messages.c.id, messages.c.account_id, messages.c.number)
        .where(messages.c.created_ms < before_ms, messages.c.status != _DUE)
        .order_by(messages.c.created_ms)
        .limit(limit)
    )
    rows = tx.execute(old).all()
    read: dict[int, int] = {}
    for row in rows:
        if row.number is not None:
            read[row.account_id] = max(row.number, read.get(row.account_id, 0))
    for account_id, number in sorted(read.items()):
        mark_read(tx, account_id, number)
    tx.execute(sa.delete(messages).where(messages.c.id.in_([row.id for row in rows])))
    key = sa.tuple_(notices.c.source, notices.c.seq, notices.c.part)
    of_message = sa.and_(messages.c.source == notices.c.source, messages.c.seq == notices.c.seq)
    done = (
        sa.select(notices.c.source, notices.c.seq, notices.c.part)
        .where(notices.c.at_ms < before_ms, notices.c.status != _WAITING, ~sa.exists().where(of_message))
        .order_by(notices.c.at_ms)
        .limit(limit)
    )
    return len(rows) + tx.execute(sa.delete(notices).where(key.in_(done))).rowcount
