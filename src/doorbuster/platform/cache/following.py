"""Takes back what has changed, in every process, by following the outbox of the context whose rows are copied.

The event is a row of the transaction that made the change, so it cannot be lost: not by a crash between the commit and
this, not by a hint that went astray. Each process follows for itself and trusts its copies only while it does; that
bounds their age. Where to begin after a restart is kept in the database, because Redis outlives the processes: what
was committed and not yet taken back when the last of them died is taken back by the next one before it trusts anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import structlog

from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.outbox import START, Position
from doorbuster.platform.bus.tables import positions
from doorbuster.platform.bus.tail import OutboxTail, end_of_settled
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.cache.settings import PULSE_MS
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

PACE_S = 0.005
"""Pause after each look, so that a busy outbox is looked at no more than 200 times a second."""
KEEP_PLACE_MS = 1_000
"""The place is written at most so often, and only when it has moved: what is repeated after a crash does no harm."""

log = structlog.get_logger("cache")


class Follower:
    """One per context and process. `trusted` is False until `run` (or `step`) has caught up."""

    def __init__(
        self,
        name: str,
        source: str,
        database: Database,
        wakeups: Wakeups,
        forget: Callable[[Sequence[Any]], None],
        settle: Callable[[], Awaitable[bool]],
        now_ms: Callable[[], int],
    ) -> None:
        """`forget(rows)` takes back here what the events are about; `await settle()` tells whether everybody knows."""
        self._name, self._source, self._database, self._wakeups = name, source, database, wakeups
        self._forget, self._settle, self._now_ms = forget, settle, now_ms
        self._tail = OutboxTail(database)
        self._started = False
        self._current_ms: int | None = None
        self._kept, self._kept_ms = START, 0
        self.looks = 0

    def trusted(self, stale_ms: int) -> bool:
        """Whether every change that was committed more than `stale_ms` ago has been forgotten here."""
        return self._current_ms is not None and self._now_ms() - self._current_ms <= stale_ms

    async def run(self) -> None:
        """Until cancelled. While the database is away nothing is trusted for long, and it goes on by itself."""
        woken = self._wakeups.subscribe(self._source)
        try:
            while True:
                woken.clear()
                try:
                    await self.step()
                except Busy as outage:
                    log.warning("changes are not heard of", follower=self._name, error=repr(outage))
                await asyncio.sleep(PACE_S)
                await _wait(woken, PULSE_MS / 1000 / 2)
        finally:
            self._wakeups.unsubscribe(self._source, woken)

    async def step(self) -> None:
        """Hears of everything that is committed now. Raises Unavailable."""
        if not self._started:
            self._kept = await self._database.write(lambda tx: place_of(tx, self._name))
            self._tail.start_at(self._kept)
            self._started = True
        while True:
            asked_ms = self._now_ms()
            self.looks += 1
            told = await self._tail.read()
            crash_point("cache.read-not-taken-back")
            if told.rows:
                self._forget(told.rows)
            if told.complete:
                self._current_ms = asked_ms
            if not told.more:
                break
        if await self._settle():
            crash_point("cache.taken-back-not-kept")
            await self._keep_place()

    async def _keep_place(self) -> None:
        position, now_ms = self._tail.position, self._now_ms()
        if position > self._kept and now_ms - self._kept_ms >= KEEP_PLACE_MS:
            await self._database.write(lambda tx: keep_place(tx, self._name, position))
            self._kept, self._kept_ms = position, now_ms


def place_of(tx: Tx, name: str) -> Position:
    """Where to begin. For the first one ever that is the end: there are no copies yet."""
    found = tx.execute(sa.select(positions.c.txid, positions.c.seq).where(positions.c.consumer == name)).first()
    if found is not None:
        return Position(found.txid, found.seq)
    end = end_of_settled(tx)
    tx.insert_if_absent(positions, {"consumer": name, "txid": end.txid, "seq": end.seq})
    return end


def keep_place(tx: Tx, name: str, position: Position) -> None:
    """Only forward: others follow the same outbox."""
    behind = sa.tuple_(positions.c.txid, positions.c.seq) < sa.tuple_(
        sa.literal(position.txid), sa.literal(position.seq)
    )
    moved: Mapping[str, int] = {"txid": position.txid, "seq": position.seq}
    tx.execute(sa.update(positions).where(positions.c.consumer == name, behind).values(moved))


async def _wait(woken: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await woken.wait()
    except TimeoutError:
        return
