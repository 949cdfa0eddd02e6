"""Carries events from an outbox to a consumer: in order, in batches, woken after each commit.

The position is kept in the consumer's database and moves in the transaction of the effect, so a crash anywhere
repeats nothing and loses nothing. Two relays of one consumer are harmless: the second finds the position moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from doorbuster.kernel.cause import cause_in
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus import consumer as inbox
from doorbuster.platform.bus.causes import said_in_logs
from doorbuster.platform.bus.consumer import Consumer, PositionMoved
from doorbuster.platform.bus.outbox import Position, newest_txid, read_after
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

BATCH_MAX = 1000
SWEEP_S = 0.25
"""Wake-ups are hints: without one, the outbox is looked at this often."""
OUTAGE_PAUSE_MAX_S = 5.0
PACE_S = 0.01
"""Pause after a batch that was not full. The first event after a lull goes at once; under load there are
at most a hundred batches a second instead of one per commit of the source (170 µs of processor time per order without
it, 110 to 147 with it, at a few thousand claims a second on two noisy cores)."""

log = structlog.get_logger("relay")


class PositionFromElsewhere(Exception):
    """A consumer has read further than its source has ever come."""


class Relay:
    """Runs one consumer on the outbox of its source."""

    def __init__(self, source: Database, target: Database, consumer: Consumer, wakeups: Wakeups, clock: Clock) -> None:
        self._source = source
        self._target = target
        self.consumer = consumer
        self._wakeups = wakeups
        self._clock = clock
        self._has_due = True
        """Whether parked events were due when the position was last looked at: both in one transaction."""

    async def run(self) -> None:
        """Until cancelled. An outage of either database pauses it, also at the start. Raises PositionFromElsewhere."""
        woken = self._wakeups.subscribe(self.consumer.source)
        pause_s, checked = SWEEP_S, False
        while True:
            woken.clear()
            try:
                if not checked:
                    await self.check_position()
                    checked = True
                while await self.step():
                    pass
                if self._has_due:
                    await self.retry_parked()
                pause_s = SWEEP_S
            except PositionMoved:
                log.info("another relay is at work", consumer=self.consumer.name)
            except Busy as outage:
                pause_s = min(pause_s * 2, OUTAGE_PAUSE_MAX_S)
                log.warning("relay waits", consumer=self.consumer.name, error=repr(outage), pause_s=pause_s)
            await asyncio.sleep(PACE_S)
            await _wait(woken, pause_s)

    async def check_position(self) -> None:
        """Raises PositionFromElsewhere: going on would wait for events that will never come."""
        held = await self._target.read(lambda tx: inbox.position_of(tx, self.consumer))
        newest = await self._source.read(newest_txid)
        if held.txid > newest:
            raise PositionFromElsewhere(
                f"{self.consumer.name} stands at transaction {held.txid}, but {self._source.name} is only at {newest}: "
                "was a dump restored into another cluster? See docs/decisions/0007-events.md"
            )

    async def step(self) -> bool:
        """Carries one batch. True if there may be more. Raises PositionMoved, Unavailable."""
        held = await self._target.read(self._look)
        rows = await self._source.read(lambda tx: read_after(tx, held, BATCH_MAX))
        if not rows:
            return False
        crash_point("relay.read-not-applied")
        await self._carry(held, rows)
        crash_point("relay.applied")
        self._wakeups.wake(self._target.name)  # an effect may have told something itself
        return len(rows) == BATCH_MAX

    def _look(self, tx: Tx) -> Position:
        self._has_due = bool(inbox.due(tx, self.consumer, self._clock.now_ms(), limit=1))
        return inbox.position_of(tx, self.consumer)

    async def _carry(self, held: Position, rows: Sequence[Any]) -> Position:
        """Applies `rows`; halves them when that fails, until the event that fails stands alone and is parked."""
        try:
            return await self._target.write(lambda tx: self._apply(tx, held, rows))
        except (Busy, PositionMoved):
            raise
        except Exception as error:
            if len(rows) == 1:
                with said_in_logs(cause_in(rows[0].cause)):
                    log.exception("event parked", consumer=self.consumer.name, seq=rows[0].seq, type=rows[0].type)
                return await self._park(held, rows[0], repr(error))
            half = len(rows) // 2
            middle = await self._carry(held, rows[:half])
            return await self._carry(middle, rows[half:])

    def _apply(self, tx: Tx, held: Position, rows: Sequence[Any]) -> Position:
        to = Position(rows[-1].txid, rows[-1].seq)
        inbox.advance(tx, self.consumer, held, to)
        decoder = self.consumer.decoder
        envelopes = [
            decoder.envelope(row.seq, row.type, row.payload, row.at_ms, row.cause)
            for row in rows
            if decoder.knows(row.type)
        ]
        inbox.handle_once(tx, self.consumer, envelopes)
        inbox.forget(tx, self.consumer, to.seq)
        return to

    async def _park(self, held: Position, row: Any, error: str) -> Position:
        to = Position(row.txid, row.seq)

        def park(tx: Tx) -> None:
            inbox.advance(tx, self.consumer, held, to)
            inbox.park(tx, self.consumer, row, error, self._clock.now_ms())

        await self._target.write(park)
        return to

    async def retry_parked(self) -> None:
        """Tries parked events whose pause is over. Attempts are counted outside the transaction that failed."""
        now_ms = self._clock.now_ms()
        for row in await self._target.read(lambda tx: inbox.due(tx, self.consumer, now_ms)):
            try:
                await self._target.write(lambda tx, row=row: inbox.retry(tx, self.consumer, row))
            except Busy:
                raise
            except Exception as error:
                failure = repr(error)
                dead = await self._target.write(
                    lambda tx, row=row, failure=failure: inbox.count_failure(tx, self.consumer, row, failure, now_ms)
                )
                with said_in_logs(cause_in(row.cause)):
                    log.exception("event failed again", consumer=self.consumer.name, seq=row.seq, dead=dead)


async def _wait(woken: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await woken.wait()
    except TimeoutError:
        return
