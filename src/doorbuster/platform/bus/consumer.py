"""The way in: a batch of events, its effect, and the record that it was handled, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus.causes import causes_of, said_in_logs
from doorbuster.platform.bus.outbox import START, EventDecoder, Position
from doorbuster.platform.bus.tables import parked, positions
from doorbuster.platform.sql.database import Row, Tx

ATTEMPTS_MAX = 8
"""After so many failures an event is dead until somebody replays it."""
FIRST_PAUSE_MS = 200
"""Pause after the first failure; doubled after each (0.2, 0.4, ... 12.8 s: half a minute in all)."""
INBOX_KEEP = 100_000
"""How many handled events are remembered per consumer. The relay never goes back further than one batch, and
a replayed event is known by its parked row, so this bounds what another transport may deliver again."""


@dataclass(frozen=True)
class Consumer:
    """What a context does about the events of another.

    `handle` is the effect: it gets the transaction of the consumer's own database and the events that have not
    been handled yet. It may see gaps, and events of one aggregate in order.
    """

    name: str
    source: str
    types: tuple[type[Event], ...]
    handle: Callable[[Tx, Sequence[Envelope[Any]]], None]
    decoder: EventDecoder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decoder", EventDecoder(self.source, self.types))


class PositionMoved(Exception):
    """Another relay has carried this consumer forward; nothing was done."""


class Parked(NamedTuple):
    """An event that was set aside."""

    seq: int
    type: str
    payload: bytes
    at_ms: int
    attempts: int
    cause: str


# Native, as is reading the outbox: asked for four times a second by every consumer. ?1 on SQLite is $1 on PostgreSQL.
_POSITION = "SELECT txid, seq FROM bus_positions WHERE consumer = ?1"
_ADVANCE = "UPDATE bus_positions SET txid = ?1, seq = ?2 WHERE consumer = ?3 AND txid = ?4 AND seq = ?5 RETURNING 1"
_FORGET = "DELETE FROM inbox WHERE consumer = ?1 AND seq < ?2"
_DUE = (
    "SELECT seq, type, payload, at_ms, attempts, cause FROM parked_events "
    "WHERE consumer = ?1 AND dead = false AND next_try_ms <= ?2 ORDER BY seq LIMIT ?3"
)


def _rows(tx: Tx, sql: str, *parameters: object) -> Sequence[Row]:
    return tx.rows(sql if tx.dialect == "sqlite" else sql.replace("?", "$"), *parameters)


def position_of(tx: Tx, consumer: Consumer) -> Position:
    found = _rows(tx, _POSITION, consumer.name)
    return Position(*found[0]) if found else START


def handle_once(tx: Tx, consumer: Consumer, envelopes: Sequence[Envelope[Event]]) -> int:
    """Applies the effect of those envelopes that were not handled before, and remembers them.

    They are handled in the order in which they were told, whatever order they came in: who tells about an aggregate
    holds its lock, so its events have rising numbers. (The order of transactions, in which an outbox is read, is
    another one: a transaction that has begun earlier may get the lock later.)
    """
    if not envelopes:
        return 0
    distinct = {envelope.seq: envelope for envelope in envelopes}
    fresh = _remember(tx, consumer.name, list(distinct))
    new = [distinct[seq] for seq in sorted(fresh)]
    if new:
        causes = causes_of(new)
        with tx.caused_by(causes.by_aggregate, causes.shared), said_in_logs(causes.shared):
            consumer.handle(tx, new)
    return len(new)


def _remember(tx: Tx, consumer: str, seqs: Sequence[int]) -> set[int]:
    """Writes the inbox rows; returns those that were not there."""
    if tx.dialect == "postgres":
        rows = tx.rows(
            "INSERT INTO inbox (consumer, seq) SELECT $1, s FROM unnest($2::bigint[]) AS s "
            "ON CONFLICT DO NOTHING RETURNING seq",
            consumer,
            sorted(set(seqs)),
        )
        return {row[0] for row in rows}
    known = {
        row[0]
        for row in tx.rows(
            "SELECT seq FROM inbox WHERE consumer = ? AND seq BETWEEN ? AND ?", consumer, min(seqs), max(seqs)
        )
    }
    fresh = set(seqs) - known
    tx.run_many("INSERT INTO inbox (consumer, seq) VALUES (?, ?)", [(consumer, seq) for seq in sorted(fresh)])
    return fresh


def advance(tx: Tx, consumer: Consumer, held: Position, to: Position) -> None:
    """Moves the position, if it is still where it was read. Raises PositionMoved."""
    if held == START:
        tx.insert_if_absent(positions, {"consumer": consumer.name, "txid": 0, "seq": 0})
    if not _rows(tx, _ADVANCE, to.txid, to.seq, consumer.name, held.txid, held.seq):
        raise PositionMoved(consumer.name)


def forget(tx: Tx, consumer: Consumer, upto_seq: int) -> None:
    """Deletes inbox rows further than INBOX_KEEP behind."""
    _rows(tx, _FORGET, consumer.name, upto_seq - INBOX_KEEP)


def park(tx: Tx, consumer: Consumer, row: Any, error: str, now_ms: int) -> None:
    """Sets an event aside whose effect failed, so that those behind it go on."""
    tx.insert_if_absent(
        parked,
        {
            "consumer": consumer.name,
            "seq": row.seq,
            "type": row.type,
            "payload": row.payload,
            "at_ms": row.at_ms,
            "attempts": 1,
            "next_try_ms": now_ms + FIRST_PAUSE_MS,
            "dead": False,
            "error": error[:500],
            "cause": row.cause,
        },
    )


def due(tx: Tx, consumer: Consumer, now_ms: int, limit: int = 100) -> list[Parked]:
    """Parked events whose pause is over, oldest first."""
    return [Parked(*row) for row in _rows(tx, _DUE, consumer.name, now_ms, limit)]


def retry(tx: Tx, consumer: Consumer, row: Any) -> None:
    """Tries a parked event again; raises what its effect raises."""
    deleted = tx.execute(sa.delete(parked).where(parked.c.consumer == consumer.name, parked.c.seq == row.seq)).rowcount
    if deleted:
        handle_once(tx, consumer, [consumer.decoder.envelope(row.seq, row.type, row.payload, row.at_ms, row.cause)])


def count_failure(tx: Tx, consumer: Consumer, row: Any, error: str, now_ms: int) -> bool:
    """Counts a failed retry, in a transaction of its own. True when the event is dead from now on."""
    attempts = row.attempts + 1
    dead = attempts >= ATTEMPTS_MAX
    tx.execute(
        sa.update(parked)
        .where(parked.c.consumer == consumer.name, parked.c.seq == row.seq)
        .values(
            attempts=attempts,
            dead=dead,
            next_try_ms=now_ms + FIRST_PAUSE_MS * 2 ** (attempts - 1),
            error=error[:500],
        )
    )
    return dead


def dead_letters(tx: Tx, limit: int = 500) -> list[Any]:
    """Dead events of this context, oldest first."""
    return list(tx.execute(sa.select(parked).where(parked.c.dead).order_by(parked.c.at_ms).limit(limit)))


def replay(tx: Tx, consumer: str | None = None, seq: int | None = None) -> int:
    """Gives dead events another life: all, those of one consumer, or one of its events. Returns how many."""
    statement = sa.update(parked).where(parked.c.dead).values(dead=False, attempts=0, next_try_ms=0)
    if consumer is not None:
        statement = statement.where(parked.c.consumer == consumer)
    if seq is not None:
        statement = statement.where(parked.c.seq == seq)
    return tx.execute(statement).rowcount
