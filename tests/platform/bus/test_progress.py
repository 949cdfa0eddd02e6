"""Progress: whether a consumer has come as far as its source was when somebody asked."""

from __future__ import annotations

import asyncio

import pytest

from conftest import NOW_MS
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.bus import progress as module
from doorbuster.platform.bus.consumer import ATTEMPTS_MAX, FIRST_PAUSE_MS
from doorbuster.platform.bus.outbox import EVERYTHING, START, trim
from doorbuster.platform.bus.progress import Flow
from doorbuster.platform.sql.database import Database

from .conftest import MakeRelay
from .ledger import Books, Closed, deposits, entered, tell


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.001)


@pytest.fixture
def listener() -> Books:
    return Books()


@pytest.fixture
def flow(bank: Database, books: Database, listener: Books) -> Flow:
    return Flow(bank, books, listener.consumer)


async def test_without_events_everybody_has_caught_up(flow: Flow):
    assert await flow.end() == START
    assert await flow.caught_up(START, 0)


async def test_a_consumer_has_caught_up_when_it_is_past_the_end_of_then(
    bank: Database, flow: Flow, listener: Books, make_relay: MakeRelay
):
    await tell(bank, [*deposits(2), Closed(1)])
    then = await flow.end()
    assert not await flow.caught_up(then, 0.01)
    await make_relay(listener).step()
    assert await flow.caught_up(then, 0)
    await tell(bank, deposits(1, first=2))
    assert await flow.caught_up(then, 0), "what comes later does not matter"
    assert not await flow.caught_up(await flow.end(), 0.01)


async def test_waiting_ends_when_it_arrives(
    bank: Database, books: Database, flow: Flow, listener: Books, make_relay: MakeRelay
):
    await tell(bank, deposits(3))
    waiting = asyncio.create_task(flow.caught_up(await flow.end(), 20))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await make_relay(listener).step()
    assert await waiting
    assert await entered(books) == [0, 1, 2]


async def test_what_is_parked_is_still_on_its_way_and_what_is_dead_is_not(
    bank: Database, flow: Flow, listener: Books, make_relay: MakeRelay, clock: ManualClock
):
    listener.poison = {1}
    relay = make_relay(listener)
    await tell(bank, deposits(3))
    await relay.step()
    then = await flow.end()
    for attempt in range(ATTEMPTS_MAX - 1):
        assert not await flow.caught_up(then, 0)
        clock.advance(FIRST_PAUSE_MS * 2**attempt)
        await relay.retry_parked()
    assert await flow.caught_up(then, 0)


async def test_what_another_consumer_has_parked_does_not_matter(
    bank: Database, flow: Flow, listener: Books, make_relay: MakeRelay
):
    other = Books("books.other")
    other.poison = {0}
    await tell(bank, deposits(1))
    for each in (listener, other):
        await make_relay(each).step()
    assert await flow.caught_up(await flow.end(), 0)


async def test_trimming_does_not_set_anybody_back(bank: Database, flow: Flow, listener: Books, make_relay: MakeRelay):
    await tell(bank, deposits(3))
    then = await flow.end()
    await make_relay(listener).step()
    await bank.write(lambda tx: trim(tx, EVERYTHING, NOW_MS + 1))
    assert await flow.caught_up(then, 0)
    assert await flow.caught_up(await flow.end(), 0)
