"""Reads the end of an outbox as it grows: everything that is committed, at once, and nothing twice.

Unlike a relay it does not wait for older transactions: rows that are newer than the oldest open one are told, and
looked at again until that one has ended, because one with a smaller position may still be committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from doorbuster.platform.bus.outbox import START, Position, end_position
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.sql.database import Database, Tx

PAGE = 1000


class Told(NamedTuple):
    """`more`: the next read tells more at once. `complete`: this was all that is committed.

    Neither is true while more than a page of rows is newer than the oldest open transaction.
    """

    rows: Sequence[Any]
    more: bool
    complete: bool


class OutboxTail:
    """One reader's place in the outbox of a context. `position`: everything up to it was told."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.position = START
        self._told: set[int] = set()
        """Sequence numbers behind the position that were told already."""

    def start_at(self, position: Position) -> None:
        self.position, self._told = position, set()

    async def start_at_end(self) -> None:
        """Raises Unavailable."""
        self.start_at(await self._database.read(end_of_settled))

    async def read(self) -> Told:
        """Rows (seq, type, aggregate_id, payload) that were not told yet. Raises Unavailable; then nothing was told."""
        found = await self._database.read(lambda tx: _rows_after(tx, self.position, PAGE))
        fresh = [row for row in found if row.seq not in self._told]
        settled = [row for row in found if row.settled]
        self._told = {row.seq for row in found if not row.settled}
        if settled:
            self.position = Position(settled[-1].txid, settled[-1].seq)
        complete = len(found) < PAGE
        return Told(fresh, more=not complete and bool(settled), complete=complete)


def end_of_settled(tx: Tx) -> Position:
    """Up to where nothing can be committed any more."""
    if tx.dialect == "sqlite":
        return end_position(tx)
    ((oldest_open,),) = tx.rows("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return Position(oldest_open - 1, 2**63 - 1)


def _rows_after(tx: Tx, position: Position, limit: int) -> Sequence[Any]:
    """Rows (seq, txid, type, aggregate_id, payload, settled) in the order of positions, the unsettled ones last."""
    settled: sa.ColumnElement[Any] = (
        sa.literal(value=True)
        if tx.dialect == "sqlite"
        else sa.literal_column("txid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    )
    statement = (
        sa.select(
            outbox.c.seq,
            outbox.c.txid,
            outbox.c.type,
            outbox.c.aggregate_id,
            outbox.c.payload,
            settled.label("settled"),
        )
        .where(sa.tuple_(outbox.c.txid, outbox.c.seq) > sa.tuple_(position.txid, position.seq))
        .order_by(outbox.c.txid, outbox.c.seq)
        .limit(limit)
    )
    return tx.execute(statement).all()
