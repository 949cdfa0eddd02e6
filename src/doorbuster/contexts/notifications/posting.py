"""A page of addressed notices becomes messages, in a handful of statements whatever its size: this is done for every
order. Who writes locks notices first, then streams, each in ascending order, so that nobody waits in a circle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from doorbuster.contexts.notifications.model import Draft, Notice
from doorbuster.contexts.notifications.tables import messages, streams
from doorbuster.platform.sql.database import Tx

Addressed = tuple[Notice, Sequence[tuple[int, Draft]]]
"""A notice, and its messages with their ids."""
Key = tuple[str, int, str]
Told = tuple[str, int, int]
"""Source and number of an event, and who was told of it."""


def post(tx: Tx, addressed: Sequence[Addressed], now_ms: int) -> list[tuple[int, int]]:
    """Writes the messages of those notices that still wait, each once; returns (account, number) of what was pushed.

    A person who has been told of an event in another part is not told again.
    """
    taken = _lock_waiting(tx, [_key(notice) for notice, _ in addressed])
    drafts = [
        (notice, message_id, draft) for notice, of in addressed if _key(notice) in taken for message_id, draft in of
    ]
    pushes = [(notice, draft) for notice, _, draft in drafts if draft.channel == "push"]
    last = _lock_streams(tx, {draft.account_id for _, draft in pushes})
    # Behind the locks of the streams: nobody else pushes to these accounts until the end of the transaction.
    told = _told(tx, {_told_key(notice, draft) for notice, draft in pushes})
    rows: dict[int, dict[str, Any]] = {}
    notice_of: dict[int, Key] = {}
    for notice, message_id, draft in drafts:
        number = None
        if draft.channel == "push":
            if _told_key(notice, draft) in told:
                continue
            told.add(_told_key(notice, draft))
            last[draft.account_id] += 1
            number = last[draft.account_id]
        rows[message_id] = _row(notice, message_id, draft, number, now_ms)
        notice_of[message_id] = _key(notice)
    written = _insert(tx, list(rows.values()))
    _keep_streams(tx, last)
    counts = Counter(notice_of[message_id] for message_id in written)
    _close(tx, [(*key, counts[key]) for key in sorted(taken)])
    pushed = [row for row in rows.values() if row["number"] is not None]
    assert all(row["id"] in written for row in pushed), "the streams were locked"
    return [(row["account_id"], row["number"]) for row in pushed]


def _key(notice: Notice) -> Key:
    return (notice.source, notice.seq, notice.part)


def _told_key(notice: Notice, draft: Draft) -> Told:
    return (notice.source, notice.seq, draft.recipient_id)


def _row(notice: Notice, message_id: int, draft: Draft, number: int | None, now_ms: int) -> dict[str, Any]:
    at_once = draft.channel == "push"
    return {
        "id": message_id,
        "source": notice.source,
        "seq": notice.seq,
        "channel": draft.channel,
        "recipient_id": draft.recipient_id,
        "account_id": draft.account_id,
        "kind": draft.kind,
        "target": draft.target,
        "content": draft.content,
        "status": "sent" if at_once else "due",
        "attempts": 0,
        "claims": 0,
        "next_try_ms": now_ms,
        "number": number,
        "error": "",
        "created_ms": now_ms,
        "sent_ms": now_ms if at_once else None,
    }


_WAITS = "FROM notices WHERE source = {} AND seq = {} AND part = {} AND status = 'waiting'"
_WAITS_SQLITE = f"SELECT source, seq, part {_WAITS.format('?', '?', '?')}"
_ONE_WAITING = f"SELECT source, seq, part {_WAITS.format('w.source', 'w.seq', 'w.part')} LIMIT 1 FOR UPDATE"
_WAITING_POSTGRES = (
    "SELECT n.* FROM unnest($1::text[], $2::bigint[], $3::text[]) AS w(source, seq, part) "  # noqa: S608 - constants
    f"CROSS JOIN LATERAL ({_ONE_WAITING}) AS n"
)


def _lock_waiting(tx: Tx, keys: Sequence[Key]) -> set[Key]:
    if not keys:
        return set()
    if tx.dialect == "sqlite":
        return {(row[0], row[1], row[2]) for key in keys for row in tx.rows(_WAITS_SQLITE, *key)}
    rows = tx.rows(_WAITING_POSTGRES, *map(list, zip(*sorted(keys), strict=True)))
    return {(row[0], row[1], row[2]) for row in rows}


def _lock_streams(tx: Tx, account_ids: Collection[int]) -> dict[int, int]:
    """The number of the last notification of each; new accounts begin at 0."""
    if not account_ids:
        return {}
    insert = tx.insert(streams).on_conflict_do_update(
        index_elements=[streams.c.account_id], set_={"last": streams.c.last}
    )
    new = [{"account_id": account_id, "last": 0, "read_to": 0} for account_id in sorted(account_ids)]
    rows = tx.execute(insert.returning(streams.c.account_id, streams.c.last), new)
    return {row.account_id: row.last for row in rows}


_PUSHED = "FROM messages WHERE source = {} AND seq = {} AND recipient_id = {} AND channel = 'push'"
_PUSHED_SQLITE = f"SELECT source, seq, recipient_id {_PUSHED.format('?', '?', '?')}"
_ONE_PUSHED = f"SELECT source, seq, recipient_id {_PUSHED.format('w.source', 'w.seq', 'w.recipient_id')} LIMIT 1"
_PUSHED_POSTGRES = (
    "SELECT m.* FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w(source, seq, recipient_id) "  # noqa: S608
    f"CROSS JOIN LATERAL ({_ONE_PUSHED}) AS m"
)


def _told(tx: Tx, keys: Collection[Told]) -> set[Told]:
    """Those that were pushed before."""
    if not keys:
        return set()
    if tx.dialect == "sqlite":
        return {(row[0], row[1], row[2]) for key in keys for row in tx.rows(_PUSHED_SQLITE, *key)}
    return {(row[0], row[1], row[2]) for row in tx.rows(_PUSHED_POSTGRES, *map(list, zip(*keys, strict=True)))}


def _insert(tx: Tx, rows: Sequence[dict[str, Any]]) -> set[int]:
    """Ids of those that are new."""
    if not rows:
        return set()
    return set(tx.execute(tx.insert(messages).on_conflict_do_nothing().returning(messages.c.id), rows).scalars())


def _keep_streams(tx: Tx, last: dict[int, int]) -> None:
    if last:
        insert = tx.insert(streams)
        moved = insert.on_conflict_do_update(index_elements=[streams.c.account_id], set_={"last": insert.excluded.last})
        tx.execute(moved, [{"account_id": of, "last": number, "read_to": 0} for of, number in sorted(last.items())])


_CLOSE_SQLITE = "UPDATE notices SET status = 'addressed', written = ?4 WHERE source = ?1 AND seq = ?2 AND part = ?3"
_CLOSE_POSTGRES = (
    "UPDATE notices n SET status = 'addressed', written = w.written "
    "FROM unnest($1::text[], $2::bigint[], $3::text[], $4::int[]) AS w(source, seq, part, written) "
    "CROSS JOIN LATERAL (SELECT k.ctid FROM notices k "
    "WHERE k.source = w.source AND k.seq = w.seq AND k.part = w.part LIMIT 1) AS l WHERE n.ctid = l.ctid"
)


def _close(tx: Tx, closed: Sequence[tuple[str, int, str, int]]) -> None:
    """Locked notices, with how many messages they became."""
    if not closed:
        return
    if tx.dialect == "sqlite":
        tx.run_many(_CLOSE_SQLITE, closed)
        return
    tx.rows(_CLOSE_POSTGRES, *map(list, zip(*closed, strict=True)))
