"""The outbox: events are as true as the transaction that wrote them, and none is ever passed over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.apps.rooms import trim_outbox
from doorbuster.kernel.events import Event
from doorbuster.platform.bus.consumer import Consumer, advance
from doorbuster.platform.bus.outbox import (
    EVERYTHING,
    START,
    EventDecoder,
    Position,
    UnknownEvent,
    emit,
    end_position,
    read_after,
    trim,
)
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Context
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import History

from ..gate import Gate
from .ledger import NOW_MS, Books, Closed, Deposited, deposits, rows, tell

decoder = EventDecoder("bank", (Deposited, Closed))


async def read(bank: Database, position: Position, limit: int = 1_000) -> tuple[list[int], Position]:
    """The numbers of the next deposits, and the position behind them."""
    found = await bank.read(lambda tx: read_after(tx, position, limit))
    numbers = [decoder.envelope(row.seq, row.type, row.payload, row.at_ms).event.number for row in found]
    return numbers, Position(found[-1].txid, found[-1].seq) if found else position


async def read_all(bank: Database, limit: int) -> list[int]:
    everything, position = [], START
    while True:
        numbers, position = await read(bank, position, limit)
        if not numbers:
            return everything
        assert len(numbers) <= limit
        everything += numbers


@pytest.mark.parametrize("limit", [1, 3, 7, 1_000])
async def test_what_was_told_is_read_once_and_in_order(bank: Database, limit: int):
    await tell(bank, deposits(20), per_transaction=4)
    assert await read_all(bank, limit) == list(range(20))


async def test_an_event_survives_its_row(bank: Database):
    events: Sequence[Event] = [Deposited(2**62, 1, -5), Closed(7)]
    await tell(bank, events)
    found = await rows(bank, outbox)
    envelopes = [decoder.envelope(row.seq, row.type, row.payload, row.at_ms) for row in found]
    assert [envelope.event for envelope in envelopes] == events
    assert [(row.type, row.aggregate_id, row.at_ms) for row in found] == [
        ("bank.deposited", 2**62, NOW_MS),
        ("bank.closed", 7, NOW_MS),
    ]
    assert [(envelope.source, envelope.seq, envelope.at_ms) for envelope in envelopes] == [
        ("bank", row.seq, NOW_MS) for row in found
    ]


async def test_what_is_rolled_back_was_never_told(bank: Database):
    def work(tx: Tx) -> None:
        emit(tx, deposits(3), NOW_MS)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bank.write(work)
    await tell(bank, deposits(1, first=10))
    assert await read_all(bank, 10) == [10]


async def test_no_events_are_no_rows(bank: Database):
    await bank.write(lambda tx: emit(tx, [], NOW_MS))
    assert await rows(bank, outbox) == []
    assert await bank.read(end_position) == START


async def test_an_event_of_a_transaction_that_commits_late_is_not_passed_over(bank: Database):
    """On SQLite there is no such transaction: the second writer waits for the first."""
    gate = Gate()

    def late(tx: Tx) -> None:
        emit(tx, deposits(1, first=1), NOW_MS)
        gate.hold(tx)

    writing = asyncio.create_task(bank.write(late))
    await gate.entered()
    if bank.dialect == "sqlite":
        gate.open()
        await writing
    await tell(bank, deposits(2, first=2))
    before, position = await read(bank, START)
    gate.open()
    await writing
    after, _ = await read(bank, position)
    assert sorted(before + after) == [1, 2, 3]
    if bank.dialect == "postgres":
        assert before == [], "what is newer waits for the one that is still open"


async def test_no_event_is_lost_whenever_it_commits(bank: Database):
    """A reader at work while 40 transactions commit in an order of their own."""
    stop, seen = asyncio.Event(), []

    async def reader() -> None:
        position = START
        while True:
            last_round = stop.is_set()
            numbers, position = await read(bank, position, limit=5)
            seen.extend(numbers)
            if last_round and not numbers:
                return

    async def writer(number: int) -> None:
        def work(tx: Tx) -> None:
            emit(tx, [Deposited(0, number, 1)], NOW_MS)
            for _ in range(number * 7 % 11):
                tx.execute(sa.text("SELECT 1"))

        await bank.write(work)

    reading = asyncio.create_task(reader())
    await asyncio.gather(*(writer(number) for number in range(40)))
    stop.set()
    await reading
    assert sorted(seen) == list(range(40))


async def test_the_end_is_behind_all_that_is_committed(bank: Database):
    await tell(bank, deposits(5), per_transaction=2)
    end = await bank.read(end_position)
    assert (await read(bank, end))[0] == []
    await tell(bank, deposits(1, first=5))
    assert (await read(bank, end))[0] == [5]
    assert START < end < await bank.read(end_position) < EVERYTHING


async def test_only_what_is_passed_and_old_is_trimmed(bank: Database):
    await tell(bank, deposits(6), per_transaction=2)
    _, passed = await read(bank, START, limit=4)
    assert await bank.write(lambda tx: trim(tx, START, NOW_MS + 1)) == 0
    assert await bank.write(lambda tx: trim(tx, passed, NOW_MS)) == 0
    assert await bank.write(lambda tx: trim(tx, passed, NOW_MS + 1, limit=3)) == 3
    assert await bank.write(lambda tx: trim(tx, passed, NOW_MS + 1, limit=3)) == 1
    assert await read_all(bank, 10) == [4, 5]
    assert await bank.write(lambda tx: trim(tx, EVERYTHING, NOW_MS + 1)) == 2


async def test_the_slowest_consumer_decides_what_is_trimmed(bank: Database, books: Database):
    """As the housekeeping of the shop does it."""
    quick, slow, elsewhere = (
        Books("books.quick"),
        Books("books.slow"),
        Consumer("books.x", "shop", (Deposited,), _ignore),
    )
    contexts = [
        Context("bank", bank, History("")),
        Context("books", books, History(""), consumers=[quick.consumer, slow.consumer, elsewhere]),
    ]
    shop: Any = SimpleNamespace(contexts=contexts)
    await tell(bank, deposits(6), per_transaction=2)
    assert await trim_outbox(shop, contexts[0], NOW_MS + 1) == 0, "neither has begun"
    _, behind_two = await read(bank, START, limit=2)
    _, behind_all = await read(bank, START)
    await books.write(lambda tx: advance(tx, quick.consumer, START, behind_all))
    assert await trim_outbox(shop, contexts[0], NOW_MS + 1) == 0
    await books.write(lambda tx: advance(tx, slow.consumer, START, behind_two))
    assert await trim_outbox(shop, contexts[0], NOW_MS) == 0, "not old enough"
    assert await trim_outbox(shop, contexts[0], NOW_MS + 1) == 2
    assert (await read(bank, behind_two))[0] == [2, 3, 4, 5]


def _ignore(tx: Tx, envelopes: Sequence[Any]) -> None:
    pass


async def test_ids_go_on_after_everything_was_trimmed(bank: Database):
    """A consumer knows events by their id: one that came again would be taken for handled."""
    await tell(bank, deposits(5))
    _, passed = await read(bank, START)
    before = {row.seq for row in await rows(bank, outbox)}
    await bank.write(lambda tx: trim(tx, EVERYTHING, NOW_MS + 1))
    await tell(bank, deposits(5, first=5))
    after = {row.seq for row in await rows(bank, outbox)}
    assert min(after) > max(before)
    assert (await read(bank, passed))[0] == [5, 6, 7, 8, 9]


async def test_a_type_that_nobody_declared_is_a_mistake():
    with pytest.raises(UnknownEvent):
        EventDecoder("bank", (Deposited,)).envelope(1, "bank.closed", b"{}", 0)
    assert not EventDecoder("bank", (Deposited,)).knows("bank.closed")


def test_events_without_a_tag_are_found_out_at_once():
    class Nameless(Event, frozen=True):
        pass

    with pytest.raises(AssertionError, match="Nameless declares no tag"):
        EventDecoder("bank", (Nameless,))
