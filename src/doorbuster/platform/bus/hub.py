"""Tells many waiting readers of one process which of them have something new to read.

A live connection reads its rows itself, after its own cursor. What it must not do is ask the database every second
whether there are any: a hub asks once for the whole process, and wakes those whose topic has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any, Protocol

import structlog

from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.tail import OutboxTail
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database

SWEEP_S = 1.0
"""Wake-ups are hints, and other machines send none: without one, the source is asked this often."""
PACE_S = 0.005
"""Pause after each question, so that a busy source is asked at most 200 times a second."""
OUTAGE_PAUSE_S = 1.0

log = structlog.get_logger("hub")


class Changes(Protocol):
    """What has changed in a source, as topics (ids of whatever its readers follow: a conversation, an account).

    One task calls it, never twice at once. It may name a topic too often, never too seldom.
    """

    async def start(self) -> None:
        """Stands at the end: what is committed by now need not be named. Raises Unavailable."""
        ...

    async def next(self) -> Collection[int]:
        """Topics with something new since the last call; empty if there is nothing. Raises Unavailable."""
        ...


class Subscription:
    """What one reader waits for. Follow first, then read to the end, then wait:

    with hub.subscribe(topic) as subscription:
        while True:
            subscription.take()
            ...read to the end...
            await subscription.wait()
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._topics: set[int] = set()
        self._changed: set[int] = set()
        self._event = asyncio.Event()
        self._failure: Exception | None = None

    def follow(self, topic: int) -> None:
        """One topic more. It counts as changed at once: it has not been read yet."""
        self._topics.add(topic)
        self._hub.join(self, topic)
        self.tell(topic)

    def leave(self, topic: int) -> None:
        self._topics.discard(topic)
        self._changed.discard(topic)
        self._hub.part(self, topic)

    def close(self) -> None:
        for topic in list(self._topics):
            self.leave(topic)

    def tell(self, topic: int) -> None:
        """The topic has changed, or is to be read again."""
        self._changed.add(topic)
        self._event.set()

    def take(self) -> set[int]:
        """The topics that have changed since this was last asked. To be asked before reading, not after."""
        changed, self._changed = self._changed, set()
        self._event.clear()
        return changed

    async def wait(self) -> None:
        """Until something has changed. Raises what the hub failed with: it will never tell this reader anything."""
        await self._event.wait()
        if self._failure is not None:
            raise self._failure

    def fail(self, error: Exception) -> None:
        self._failure = error
        self._event.set()


class Hub:
    """One per source and process; its task runs while somebody waits."""

    def __init__(self, source: str, wakeups: Wakeups, changes: Changes, sweep_s: float = SWEEP_S) -> None:
        """`source`: whose wake-ups are listened to (the name of the context)."""
        self.source = source
        self._wakeups = wakeups
        self._changes = changes
        self._sweep_s = sweep_s
        self._waiting: dict[int, set[Subscription]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def topics(self) -> Collection[int]:
        """What somebody of this process waits for."""
        return self._waiting.keys()

    @contextmanager
    def subscribe(self, *topics: int) -> Generator[Subscription]:
        subscription = Subscription(self)
        try:
            for topic in topics:
                subscription.follow(topic)
            yield subscription
        finally:
            subscription.close()

    def join(self, subscription: Subscription, topic: int) -> None:
        self._waiting.setdefault(topic, set()).add(subscription)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"hub {self.source}")

    def part(self, subscription: Subscription, topic: int) -> None:
        waiting = self._waiting.get(topic)
        if waiting is None:
            return
        waiting.discard(subscription)
        if not waiting:
            del self._waiting[topic]
        if not self._waiting and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        try:
            await self._watch()
        except Exception as error:
            log.exception("hub failed", source=self.source)
            self._task = None  # the next reader starts another one
            for subscription in {each for waiting in self._waiting.values() for each in waiting}:
                subscription.fail(error)

    async def _watch(self) -> None:
        woken = self._wakeups.subscribe(self.source)
        started = False
        try:
            while True:
                woken.clear()
                pause_s = self._sweep_s
                try:
                    if not started:
                        await self._changes.start()
                        started = True
                        self._tell(list(self._waiting))  # who came before may have read before
                    self._tell(await self._changes.next())
                except Busy as outage:
                    log.warning("hub waits", source=self.source, error=repr(outage))
                    pause_s = OUTAGE_PAUSE_S
                await asyncio.sleep(PACE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await woken.wait()
        finally:
            self._wakeups.unsubscribe(self.source, woken)

    def _tell(self, topics: Collection[int]) -> None:
        for topic in topics:
            for subscription in self._waiting.get(topic, ()):
                subscription.tell(topic)


Topics = Callable[[Any], Collection[int]]
"""(outbox row: type, aggregate_id, payload) → topics that it changes."""


def aggregate(row: Any) -> Collection[int]:
    return (row.aggregate_id,)


class OutboxChanges:
    """Topics from the events of a context's own outbox; by default what an event is about is the topic."""

    def __init__(self, database: Database, topics: Topics = aggregate) -> None:
        self._tail = OutboxTail(database)
        self._topics = topics

    async def start(self) -> None:
        await self._tail.start_at_end()

    async def next(self) -> Collection[int]:
        topics: set[int] = set()
        while True:
            told = await self._tail.read()
            topics.update(topic for row in told.rows for topic in self._topics(row))
            if not told.more:
                return topics


class ReadChanges:
    """Topics from a query: `read(after)` → (new position, topics of rows behind `after`); `newest()` → the end.

    For a source without events. Positions that are not committed in their own order may be missed: number such rows
    under a lock that their writers share, or write them from one task only.
    """

    def __init__(
        self,
        newest: Callable[[], Awaitable[int]],
        read: Callable[[int], Awaitable[tuple[int, Collection[int]]]],
    ) -> None:
        self._newest = newest
        self._read = read
        self._position = 0

    async def start(self) -> None:
        self._position = await self._newest()

    async def next(self) -> Collection[int]:
        self._position, topics = await self._read(self._position)
        return topics
