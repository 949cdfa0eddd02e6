"""One question for all readers of a process, and none of them is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from conftest import OpenDatabase
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.events import Event
from doorbuster.platform.bus import hub as hubs
from doorbuster.platform.bus import tail
from doorbuster.platform.bus.hub import Hub, OutboxChanges
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database, Tx

UNTIL_S = 20.0
NEVER_S = 3600.0


class Said(Event, frozen=True, tag="tests.said"):
    about: int

    @property
    def aggregate_id(self) -> int:
        return self.about


class Told:
    """Changes as a test says them."""

    def __init__(self) -> None:
        self.topics: list[int] = []
        self.asked = 0
        self.failures: list[Exception] = []

    async def start(self) -> None: ...

    async def next(self) -> Collection[int]:
        self.asked += 1
        if self.failures:
            raise self.failures.pop()
        topics, self.topics = self.topics, []
        return topics


@pytest.fixture
def wakeups() -> Wakeups:
    return Wakeups()


async def test_many_readers_are_one_question(wakeups: Wakeups):
    changes = Told()
    hub = Hub("x", wakeups, changes, sweep_s=NEVER_S)
    subscriptions = [hub.subscribe(n) for n in range(100)]
    readers = [each.__enter__() for each in subscriptions]
    await asyncio.gather(*(each.wait() for each in readers))
    async with asyncio.timeout(UNTIL_S):
        while changes.asked < 1:
            await asyncio.sleep(0)
    assert changes.asked == 1
    for reader in readers:
        reader.take()
    changes.topics = [7]
    wakeups.wake("x")
    async with asyncio.timeout(UNTIL_S):
        await readers[7].wait()
    assert changes.asked == 2
    assert [reader.take() for reader in readers] == [{7} if n == 7 else set() for n in range(100)]
    for each in subscriptions:
        each.__exit__(None, None, None)
    assert list(hub.topics) == []
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not wakeups._subscribers["x"], "who has gone is not woken any more"  # pyright: ignore[reportPrivateUsage]


async def test_an_outage_pauses_and_a_failure_is_told(wakeups: Wakeups, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hubs, "OUTAGE_PAUSE_S", 0.001)
    changes = Told()
    changes.failures = [Unavailable()]
    hub = Hub("x", wakeups, changes, sweep_s=0.001)
    async with asyncio.timeout(UNTIL_S):
        with hub.subscribe(1) as reader:
            reader.take()
            changes.topics = [1]
            await reader.wait()
            reader.take()
            changes.failures = [KeyError("a bug")]
            with pytest.raises(KeyError):
                await reader.wait()
        with hub.subscribe(1) as again:
            again.take()
            changes.topics = [1]
            await again.wait()


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("support", "doorbuster.contexts.support.migrations")


async def say(database: Database, *about: int) -> None:
    await database.write(lambda tx: emit(tx, [Said(each) for each in about], 1))


async def test_topics_of_an_outbox(database: Database):
    await say(database, 1)
    changes = OutboxChanges(database)
    await changes.start()
    assert set(await changes.next()) == set(), "what was there before was read before"
    await say(database, 2, 3)
    await say(database, 2)
    assert set(await changes.next()) == {2, 3}
    assert set(await changes.next()) == set()


async def test_a_full_page_is_not_the_end(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tail, "PAGE", 3)
    changes = OutboxChanges(database)
    await changes.start()
    await say(database, *range(8))
    assert set(await changes.next()) == set(range(8))
    assert set(await changes.next()) == set()


@pytest.mark.parametrize("database_settings", ["postgres"], indirect=True)
async def test_what_an_older_transaction_commits_late_is_named(database: Database):
    """On PostgreSQL its rows have smaller positions than some that were named already; SQLite commits in order."""
    changes = OutboxChanges(database)
    begun, go_on = asyncio.Event(), False
    loop = asyncio.get_running_loop()

    def late(tx: Tx) -> None:
        emit(tx, [Said(1)], 1)
        loop.call_soon_threadsafe(begun.set)
        while not go_on:
            tx.rows("SELECT pg_sleep(0.005)")

    writing = asyncio.create_task(database.write(late))
    await begun.wait()
    await changes.start()
    await say(database, 2)
    assert set(await changes.next()) == {2}, "at once, although an older one is open"
    assert set(await changes.next()) == set(), "and once"
    go_on = True
    await writing
    assert set(await changes.next()) == {1}
    await say(database, 3)
    assert set(await changes.next()) == {3}
