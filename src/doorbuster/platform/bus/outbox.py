"""The way out: events are rows of the transaction that made them true, and read in the order of commits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from doorbuster.kernel.cause import Cause, cause_in, text_of
from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.database import Dialect, Tx

_encode = msgspec.json.Encoder().encode

_INSERT_SQLITE = "INSERT INTO outbox (txid, type, aggregate_id, payload, cause, at_ms) VALUES (0, ?, ?, ?, ?, ?)"
_INSERT_POSTGRES = (
    "INSERT INTO outbox (txid, type, aggregate_id, payload, cause, at_ms) "
    "SELECT pg_current_xact_id()::text::bigint, * "
    "FROM unnest($1::text[], $2::bigint[], $3::bytea[], $4::text[], $5::bigint[])"
)


class Position(NamedTuple):
    """Up to where an outbox has been read. Compares in the order of commits."""

    txid: int
    seq: int


START = Position(0, 0)
EVERYTHING = Position(2**63 - 1, 2**63 - 1)


def emit(tx: Tx, events: Sequence[Event], at_ms: int, causes: Sequence[Cause | None] | None = None) -> None:
    """Adds `events` to the outbox of this transaction's context. The database's users call `wake` afterwards.

    Each event's cause is what the transaction knows of it, or the one of `causes`: for who commits the work of several
    requests together.
    """
    if not events:
        return
    if causes is None:
        causes = [tx.cause_of(event.aggregate_id) for event in events]
    rows = [
        (kind, about, payload, text_of(cause), at_ms)
        for (kind, about, payload), cause in zip(rows_of(events), causes, strict=True)
    ]
    if tx.dialect == "sqlite":
        tx.run_many(_INSERT_SQLITE, rows)
    else:
        tx.rows(_INSERT_POSTGRES, *zip(*rows, strict=True))


def rows_of(events: Iterable[Event]) -> list[tuple[str, int, bytes]]:
    """(type, aggregate id, payload) of each event."""
    return [(type_of(type(event)), event.aggregate_id, _encode(event)) for event in events]


@cache
def type_of(event: type[Event]) -> str:
    tag = event.__struct_config__.tag
    # msgspec would make one up from the name of the class, which somebody may change one day.
    assert isinstance(tag, str) and "." in tag, f"{event.__name__} declares no tag"
    return tag


class OutboxRow(NamedTuple):
    """An event as it was told."""

    seq: int
    txid: int
    type: str
    payload: bytes
    at_ms: int
    cause: str


# Native: the outboxes are looked at four times a second by every consumer, also when nothing happens.
_READ = (
    "SELECT seq, txid, type, payload, at_ms, cause FROM outbox WHERE (txid, seq) > ({}, {}){} "
    "ORDER BY txid, seq LIMIT {}"
)
_READ_AFTER: dict[Dialect, str] = {
    "sqlite": _READ.format("?", "?", "", "?"),
    "postgres": _READ.format("$1", "$2", " AND txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint", "$3"),
}


def read_after(tx: Tx, position: Position, limit: int) -> list[OutboxRow]:
    """The next rows, at most `limit`.

    On PostgreSQL rows of transactions newer than the oldest open one are not read yet: one of those might still
    commit a smaller position, which would be passed over for ever.
    """
    return [OutboxRow(*row) for row in tx.rows(_READ_AFTER[tx.dialect], position.txid, position.seq, limit)]


def end_position(tx: Tx) -> Position:
    """Behind the newest row that is committed in this snapshot."""
    statement = sa.select(outbox.c.txid, outbox.c.seq).order_by(outbox.c.txid.desc(), outbox.c.seq.desc()).limit(1)
    row = tx.execute(statement).first()
    return Position(row.txid, row.seq) if row else START


def newest_txid(tx: Tx) -> int:
    """The number that the source's next transaction will have, at least; 0 on SQLite, which does not count them."""
    if tx.dialect == "sqlite":
        return 0
    ((newest,),) = tx.rows("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
    return newest


def trim(tx: Tx, upto: Position, before_ms: int, limit: int = 5_000) -> int:
    """Deletes at most `limit` rows that every consumer has passed and that are older than `before_ms`."""
    old = (
        sa.select(outbox.c.seq)
        .where(sa.tuple_(outbox.c.txid, outbox.c.seq) <= sa.tuple_(upto.txid, upto.seq))
        .where(outbox.c.at_ms < before_ms)
        .order_by(outbox.c.txid, outbox.c.seq)
        .limit(limit)
    )
    return tx.execute(sa.delete(outbox).where(outbox.c.seq.in_(old.scalar_subquery()))).rowcount


class UnknownEvent(Exception):
    """A consumer listens to a type that its decoder does not know. A mistake in the wiring."""


class EventDecoder:
    """Turns rows of one source into envelopes, for the types a consumer listens to."""

    def __init__(self, source: str, types: Sequence[type[Event]]) -> None:
        self._source = source
        self._decoders = {type_of(kind): msgspec.json.Decoder(kind) for kind in types}

    def knows(self, kind: str) -> bool:
        return kind in self._decoders

    def envelope(self, seq: int, kind: str, payload: bytes, at_ms: int, cause: str = "") -> Envelope[Event]:
        """Raises UnknownEvent, msgspec.ValidationError."""
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise UnknownEvent(kind)
        return Envelope(self._source, seq, at_ms, decoder.decode(payload), cause_in(cause))
