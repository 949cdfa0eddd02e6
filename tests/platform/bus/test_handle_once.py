"""The inbox: whatever is delivered how often and in which order, each effect happens once."""

from __future__ import annotations

import asyncio
import random

import pytest
import sqlalchemy as sa

from doorbuster.kernel.events import Envelope, Event
from doorbuster.platform.bus import consumer as module
from doorbuster.platform.bus.consumer import forget, handle_once
from doorbuster.platform.bus.tables import inbox
from doorbuster.platform.sql.database import Database, Tx

from .ledger import NOW_MS, Books, deposits, entered, in_order_for_each_account, rows


def envelopes(*numbers: int) -> list[Envelope[Event]]:
    """The deposits of these numbers, in that order, with the number as their id too."""
    all_of_them = deposits(max(numbers, default=0) + 1)
    return [Envelope("bank", number, NOW_MS, all_of_them[number]) for number in numbers]


async def deliver(books: Database, listener: Books, *numbers: int) -> int:
    return await books.write(lambda tx: handle_once(tx, listener.consumer, envelopes(*numbers)))


async def test_each_effect_happens_once(books: Database):
    listener = Books()
    assert await deliver(books, listener, 1, 2, 3) == 3
    assert await deliver(books, listener, 1, 2, 3) == 0
    assert await deliver(books, listener, 3, 4) == 1
    assert await deliver(books, listener) == 0
    assert await entered(books) == [1, 2, 3, 4]
    assert listener.batches == [[1, 2, 3], [4]], "an effect is not even tried for what was handled"


async def test_what_is_twice_in_a_batch_happens_once_and_in_its_place(books: Database):
    listener = Books()
    assert await deliver(books, listener, 1, 2, 1, 3, 2, 1) == 3
    assert await entered(books) == [1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
async def test_under_any_repetition_and_order_each_effect_happens_once(books: Database, seed: int):
    dice, listener = random.Random(seed), Books()
    while len(await entered(books)) < 60:
        batch = dice.choices(range(60), k=dice.randint(1, 25))
        await deliver(books, listener, *batch)
        assert in_order_for_each_account(listener.batches[-1] if listener.batches else [])
    assert sorted(await entered(books)) == list(range(60))
    assert [row.seq for row in await rows(books, inbox)] == list(range(60))


async def test_deliveries_at_once_share_the_work(books: Database):
    listener = Books()
    dice = random.Random(1)
    batches = [dice.sample(range(40), 25) for _ in range(12)] + [list(range(40))]
    handled = await asyncio.gather(*(deliver(books, listener, *batch) for batch in batches))
    assert sum(handled) == 40
    assert sorted(await entered(books)) == list(range(40))


async def test_an_effect_that_fails_is_not_remembered(books: Database):
    listener = Books()
    listener.poison = {2}
    with pytest.raises(ValueError, match="deposit 2"):
        await deliver(books, listener, 1, 2, 3)
    assert (await entered(books), await rows(books, inbox)) == ([], [])
    listener.poison.clear()
    assert await deliver(books, listener, 1, 2, 3) == 3


async def test_two_consumers_of_the_same_events_do_not_meet(books: Database):
    assert await deliver(books, Books("books.deposits"), 1, 2) == 2
    assert await deliver(books, Books("books.totals"), 1, 2) == 2
    assert await entered(books) == [1, 2, 1, 2]


async def test_the_inbox_forgets_what_is_far_behind_and_nothing_else(books: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "INBOX_KEEP", 10)
    listener, other = Books(), Books("books.totals")
    await deliver(books, listener, *range(30))
    await deliver(books, other, *range(3))
    await books.write(lambda tx: forget(tx, listener.consumer, 25))
    kept = [(row.consumer, row.seq) for row in await rows(books, inbox)]
    assert kept == [(listener.consumer.name, n) for n in range(15, 30)] + [(other.consumer.name, n) for n in range(3)]


async def test_ids_as_large_as_they_come_are_remembered(books: Database):
    listener, seq = Books(), 2**62
    event = deposits(1)[0]

    def work(tx: Tx) -> int:
        return handle_once(tx, listener.consumer, [Envelope("bank", seq, NOW_MS, event)])

    assert [await books.write(work) for _ in range(2)] == [1, 0]
    assert await books.read(lambda tx: tx.execute(sa.select(inbox.c.seq)).scalars().all()) == [seq]
