"""Events whose effect fails: set aside alone, tried again with growing pauses, dead in the end, and replayable."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.bus import relay as module
from doorbuster.platform.bus.consumer import ATTEMPTS_MAX, FIRST_PAUSE_MS, dead_letters, position_of, replay
from doorbuster.platform.bus.outbox import end_position
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.bus.tables import inbox, outbox, parked
from doorbuster.platform.sql.database import Database, Tx

from ..conftest import Until
from .conftest import MakeRelay
from .ledger import NOW_MS, Books, Deposited, deposits, entered, rows, tell


async def parked_numbers(bank: Database, books: Database) -> list[int]:
    """Which deposits are parked, by the place of their row among all."""
    seqs = [row.seq for row in await rows(bank, outbox)]
    return [seqs.index(row.seq) for row in await rows(books, parked)]


async def kill(relay: Relay, clock: ManualClock) -> None:
    """Tries parked events until nothing is due any more, however long one waits."""
    for _ in range(ATTEMPTS_MAX + 2):
        clock.advance(60_000)
        await relay.retry_parked()


@pytest.mark.parametrize("poison", [{0}, {6}, {12}, {5, 6}, {0, 3, 12}, set(range(13))], ids=str)
async def test_what_fails_is_set_aside_and_its_neighbours_go_on(
    bank: Database, books: Database, make_relay: MakeRelay, poison: set[int]
):
    listener = Books()
    listener.poison = poison
    await tell(bank, deposits(13))
    await make_relay(listener).step()
    assert await entered(books) == [n for n in range(13) if n not in poison]
    assert await parked_numbers(bank, books) == sorted(poison)
    assert len(await rows(books, inbox)) == 13 - len(poison)
    assert await books.read(lambda tx: position_of(tx, listener.consumer)) == await bank.read(end_position)


async def test_what_a_constraint_or_the_decoder_refuses_is_set_aside_too(
    bank: Database, books: Database, make_relay: MakeRelay
):
    await tell(bank, [Deposited(0, 0, 1), Deposited(0, 1, 5_000), Deposited(0, 2, 1), Deposited(0, 3, 1)])
    garbled_seq = (await rows(bank, outbox))[2].seq
    garble = sa.update(outbox).where(outbox.c.seq == garbled_seq).values(payload=b'{"type":"bank.depo')
    await bank.write(lambda tx: tx.execute(garble))
    await make_relay(Books()).step()
    assert await entered(books) == [0, 3]
    assert await parked_numbers(bank, books) == [1, 2]
    refused, garbled = await rows(books, parked)
    assert "RowRejected" in refused.error
    assert "DecodeError" in garbled.error
    assert (refused.type, refused.at_ms, refused.attempts, refused.dead) == ("bank.deposited", NOW_MS, 1, False)


async def test_an_outage_is_no_reason_to_set_anything_aside(bank: Database, books: Database, make_relay: MakeRelay):
    listener = Books()
    await tell(bank, deposits(3))
    relay = make_relay(listener)

    def fail(tx: Tx, _: Any) -> None:
        raise Unavailable

    object.__setattr__(listener.consumer, "handle", fail)
    with pytest.raises(Unavailable):
        await relay.step()
    assert await rows(books, parked) == []
    assert await make_relay(Books()).step() is False
    assert await entered(books) == [0, 1, 2]


async def test_it_is_tried_again_after_growing_pauses_and_dead_in_the_end(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()
    listener.poison = {0}
    relay = make_relay(listener)
    await tell(bank, deposits(1))
    await relay.step()
    tries = len(listener.batches)
    for attempt in range(1, ATTEMPTS_MAX):
        pause_ms = FIRST_PAUSE_MS * 2 ** (attempt - 1)
        row = (await rows(books, parked))[0]
        assert (row.attempts, row.next_try_ms, row.dead) == (attempt, clock.now_ms() + pause_ms, False)
        clock.advance(pause_ms - 1)
        await relay.retry_parked()
        assert len(listener.batches) == tries, "not before its time"
        clock.advance(1)
        await relay.retry_parked()
        tries += 1
        assert len(listener.batches) == tries
    row = (await rows(books, parked))[0]
    assert (row.attempts, row.dead) == (ATTEMPTS_MAX, True)
    await kill(relay, clock)
    assert len(listener.batches) == tries, "the dead are left alone"
    assert [row.seq for row in await books.read(dead_letters)] == [row.seq]
    assert await entered(books) == []


async def test_what_works_the_next_time_happens_once_and_is_forgotten(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()
    listener.poison = {1}
    relay = make_relay(listener)
    await tell(bank, deposits(3))
    await relay.step()
    listener.poison.clear()
    clock.advance(FIRST_PAUSE_MS)
    await relay.retry_parked()
    await kill(relay, clock)
    assert await entered(books) == [0, 2, 1]
    assert await rows(books, parked) == []
    assert len(await rows(books, inbox)) == 3


async def test_one_that_fails_again_does_not_keep_others_from_their_retry(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()
    listener.poison = {0, 1, 2}
    relay = make_relay(listener)
    await tell(bank, deposits(3))
    await relay.step()
    listener.poison = {0}
    clock.advance(FIRST_PAUSE_MS)
    await relay.retry_parked()
    assert await entered(books) == [1, 2]
    assert [row.attempts for row in await rows(books, parked)] == [2]


async def test_retries_at_once_have_one_effect(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()
    listener.poison = {0, 1}
    await tell(bank, deposits(2))
    await make_relay(listener).step()
    listener.poison.clear()
    clock.advance(FIRST_PAUSE_MS)
    await asyncio.gather(*(make_relay(listener).retry_parked() for _ in range(6)))
    assert sorted(await entered(books)) == [0, 1]
    assert await rows(books, parked) == []


async def test_the_dead_live_again_when_somebody_says_so(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()
    listener.poison = {0, 1, 2}
    relay = make_relay(listener)
    await tell(bank, deposits(3))
    await relay.step()
    await kill(relay, clock)
    seqs = [row.seq for row in await books.read(dead_letters)]
    assert len(seqs) == 3

    assert await books.write(lambda tx: replay(tx, "books.others")) == 0
    assert await books.write(lambda tx: replay(tx, listener.consumer.name, seqs[1])) == 1
    listener.poison.clear()
    await relay.retry_parked()
    assert await entered(books) == [1]
    assert [row.seq for row in await books.read(dead_letters)] == [seqs[0], seqs[2]]

    listener.poison = {0}
    assert await books.write(replay) == 2
    await relay.retry_parked()
    assert await entered(books) == [1, 2]
    row = (await rows(books, parked))[0]
    assert (row.seq, row.attempts, row.dead) == (seqs[0], 1, False), "a whole new life"
    await kill(relay, clock)
    assert [row.attempts for row in await books.read(dead_letters)] == [ATTEMPTS_MAX]


async def test_two_consumers_park_for_themselves(bank: Database, books: Database, make_relay: MakeRelay):
    one, other = Books("books.one"), Books("books.other")
    one.poison = {0}
    await tell(bank, deposits(2))
    for listener in (one, other):
        await make_relay(listener).step()
    assert [(row.consumer, row.attempts) for row in await rows(books, parked)] == [("books.one", 1)]
    assert sorted(await entered(books)) == [0, 1, 1]


async def test_what_is_said_about_a_failure_is_bounded(
    bank: Database, books: Database, make_relay: MakeRelay, clock: ManualClock
):
    listener = Books()

    def fail(tx: Tx, _: Any) -> None:
        raise ValueError("x" * 100_000)

    object.__setattr__(listener.consumer, "handle", fail)
    relay = make_relay(listener)
    await tell(bank, deposits(1))
    await relay.step()
    assert len((await rows(books, parked))[0].error) == 500
    clock.advance(FIRST_PAUSE_MS)
    await relay.retry_parked()
    assert len((await rows(books, parked))[0].error) == 500


async def test_a_running_relay_retries_by_itself(
    bank: Database,
    books: Database,
    make_relay: MakeRelay,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
):
    monkeypatch.setattr(module, "SWEEP_S", 0.001)
    listener = Books()
    listener.poison = {1}
    await tell(bank, deposits(3))
    running = asyncio.create_task(make_relay(listener).run())

    async def there(*numbers: int) -> bool:
        return await entered(books) == list(numbers)

    await until(lambda: there(0, 2))
    listener.poison.clear()
    clock.advance(FIRST_PAUSE_MS)
    await until(lambda: there(0, 2, 1))
    running.cancel()
