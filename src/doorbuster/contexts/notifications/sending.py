"""The sender: each channel has a lane of its own, so that a slow one stops no other.

A message is leased, sent, and settled. Who dies between sending and settling has it sent again when the lease is
over: at least once on the wire, with the same ids.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from doorbuster.contexts.notifications import store
from doorbuster.contexts.notifications.channels import Away, Failed, Outcome, Postponed, Refused, Sent, Way
from doorbuster.contexts.notifications.model import EXPIRES_MS, LEASE_MS, Message, pause_ms
from doorbuster.contracts.notifications import Channel
from doorbuster.kernel.errors import Busy
from doorbuster.platform.context import Platform
from doorbuster.platform.fallback import FEATURES
from doorbuster.platform.pools import PoolSettings, WorkerPool
from doorbuster.platform.sql.database import Database
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "notifications"
SWEEP_S = 0.5
OUTAGE_PAUSE_S = 2.0
AWAY_PAUSE_MAX_MS = 60_000
SEND_LIMIT_S = LEASE_MS / 3000
SETTLE_TRIES = 10

log = structlog.get_logger(NAME)


class Sender:
    def __init__(
        self, platform: Platform, database: Database, ways: Mapping[Channel, Way], dice: Callable[[], float]
    ) -> None:
        self.lanes = {channel: Lane(platform, database, channel, way, dice) for channel, way in ways.items()}

    async def run(self) -> None:
        """Sends until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for channel, lane in self.lanes.items():
                tasks.create_task(lane.run(), name=f"notifications {channel}")

    async def close(self) -> None:
        for lane in self.lanes.values():
            await lane.way.close()


class Lane:
    """One channel's messages: at most `way.at_once` under way. While the channel is away, one at a time asks for it."""

    def __init__(
        self, platform: Platform, database: Database, channel: Channel, way: Way, dice: Callable[[], float]
    ) -> None:
        self.way = way
        self._platform = platform
        self._features = platform.runtime.live(FEATURES)
        self._database = database
        self._channel: Channel = channel
        self._dice = dice
        # Nobody waits in it: a message is leased when there is a place to send it from.
        self._pool = WorkerPool(
            self._deliver, PoolSettings(workers=way.at_once, waiting_max=0), f"notifications {channel}"
        )
        self._moved = asyncio.Event()
        """There is something new, or a place is free."""
        self._busy: Counter[int] = Counter()
        self._paused_until_ms = 0
        self._away = 0
        """How often in succession the channel was away."""

    async def run(self) -> None:
        self._moved = self._platform.wakeups.subscribe(NAME)
        try:
            while True:
                self._moved.clear()
                pause_s = SWEEP_S
                try:
                    await self.fill()
                except Busy as outage:
                    log.warning("sending waits", channel=self._channel, error=repr(outage))
                    pause_s = OUTAGE_PAUSE_S
                await self._rest(pause_s)
        finally:
            self._platform.wakeups.unsubscribe(NAME, self._moved)
            await self._pool.cancel()

    async def fill(self) -> int:
        """Claims as many due messages as there are places, and begins to send them. Raises Unavailable."""
        if not self._features().notifications:
            return 0
        now_ms = self._platform.clock.now_ms()
        places = self._pool.room if not self._away else 1 - (self.way.at_once - self._pool.room)
        if places <= 0 or now_ms < self._paused_until_ms:
            return 0
        if not await self._database.read(lambda tx: store.is_due(tx, self._channel, now_ms)):
            return 0
        busy = dict(self._busy)
        claimed = await self._database.write(
            lambda tx: store.claim(tx, self._channel, now_ms, places, self.way.per_recipient, busy)
        )
        crash_point("notifications.claimed")
        for message in claimed:
            self._busy[message.recipient_id] += 1
            self._pool.offer(message).add_done_callback(partial(self._ended, message))
        return len(claimed)

    async def drain(self) -> None:
        """Until nothing is under way."""
        await self._pool.idle()

    def _ended(self, message: Message, answer: asyncio.Future[None]) -> None:
        self._busy[message.recipient_id] -= 1
        if not self._busy[message.recipient_id]:
            del self._busy[message.recipient_id]
        if not answer.cancelled() and (error := answer.exception()) is not None:
            log.error("sending failed", channel=self._channel, message=message.id, exc_info=error)
        self._moved.set()

    async def _rest(self, pause_s: float) -> None:
        """Until something has moved, or the pause is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._moved.wait()

    async def _deliver(self, message: Message) -> None:
        outcome = await self._outcome(message)
        crash_point("notifications.sent-not-recorded")
        for _ in range(SETTLE_TRIES):
            try:
                return await self._settle(message, outcome)
            except Busy as outage:
                log.warning("outcome waits", channel=self._channel, error=repr(outage))
                await asyncio.sleep(OUTAGE_PAUSE_S)
        # It is sent again when the lease is over.
        return log.error("outcome is lost", channel=self._channel, message=message.id)

    async def _outcome(self, message: Message) -> Outcome:
        try:
            async with asyncio.timeout(SEND_LIMIT_S):
                return await self.way.send(message)
        except TimeoutError:
            return Failed("no end within the time allowed")
        except Busy as outage:
            return Away(outage.slug)
        except Exception as error:
            log.exception("channel failed", channel=self._channel, message=message.id)
            return Failed(type(error).__name__)

    async def _settle(self, message: Message, outcome: Outcome) -> None:
        """Raises Unavailable, OutcomeUnknown; may be done again."""
        now_ms = self._platform.clock.now_ms()
        values = self._values(message, outcome, now_ms)
        await self._database.write(lambda tx: store.settle(tx, message, **values))
        if isinstance(outcome, Away):
            self._away += 1
            pause = min(AWAY_PAUSE_MAX_MS, outcome.pause_ms * 2 ** min(self._away - 1, 10))
            self._paused_until_ms = now_ms + pause
            log.warning("channel is away", channel=self._channel, reason=outcome.reason, pause_ms=pause)
        else:
            self._away = 0

    def _values(self, message: Message, outcome: Outcome, now_ms: int) -> dict[str, object]:
        match outcome:
            case Sent():
                return {"status": "sent", "sent_ms": now_ms, "error": ""}
            case Refused(reason):
                return {"status": "dead", "error": reason[:500]}
            case Away(reason):
                if now_ms - message.created_ms >= EXPIRES_MS:
                    return {"status": "dead", "error": reason[:500]}
                return {"attempts": message.attempts - 1, "next_try_ms": now_ms, "error": reason[:500]}
            case Postponed(reason, after_ms):
                if now_ms - message.created_ms >= EXPIRES_MS:
                    return {"status": "dead", "error": reason[:500]}
                again_ms = now_ms + after_ms
                return {"attempts": message.attempts - 1, "next_try_ms": again_ms, "error": reason[:500]}
            case Failed(reason, at_least_ms):
                if message.attempts >= self._platform.settings.notifications.attempts_max:
                    return {"status": "dead", "error": reason[:500]}
                again_ms = now_ms + pause_ms(message.attempts, self._dice(), at_least_ms)
                return {"next_try_ms": again_ms, "error": reason[:500]}
