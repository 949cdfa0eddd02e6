"""The relay: every event reaches its consumer, each effect once, whatever stops it on the way."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.bus import relay as module
from doorbuster.platform.bus.consumer import PositionMoved, advance, position_of
from doorbuster.platform.bus.outbox import START, Position, emit, end_position
from doorbuster.platform.bus.relay import PositionFromElsewhere
from doorbuster.platform.bus.tables import inbox
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database, Tx

from ..conftest import Until
from ..gate import Gate
from .conftest import MakeRelay
from .ledger import NOW_MS, Books, Closed, Deposited, accounts, deposits, entered, in_order_for_each_account, rows, tell


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(module, "BATCH_MAX", 10)
    return 10


class Shaky:
    """A database that can be reached only while it is not `out`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.out = False
        self.asked = self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def read(self, work: Callable[[Tx], Any]) -> Any:
        return await self._answer(self._database.read, work)

    async def write(self, work: Callable[[Tx], Any]) -> Any:
        return await self._answer(self._database.write, work)

    async def _answer(self, transact: Callable[..., Any], work: Callable[[Tx], Any]) -> Any:
        self.asked += 1
        if self.out:
            self.refused += 1
            raise Unavailable
        return await transact(work)


async def drained(relay: module.Relay) -> None:
    while await relay.step():
        pass


async def test_batches_are_bounded_and_in_order(
    bank: Database, books: Database, make_relay: MakeRelay, small_batches: int
):
    listener = Books()
    relay = make_relay(listener)
    await tell(bank, deposits(25), per_transaction=4)
    assert [await relay.step() for _ in range(4)] == [True, True, False, False]
    assert [len(batch) for batch in listener.batches] == [10, 10, 5]
    assert await entered(books) == list(range(25))
    assert await books.read(lambda tx: position_of(tx, listener.consumer)) == await bank.read(end_position)


async def test_a_full_last_batch_is_followed_by_an_empty_look(
    bank: Database, books: Database, make_relay: MakeRelay, small_batches: int
):
    relay = make_relay(Books())
    await tell(bank, deposits(10))
    assert [await relay.step() for _ in range(2)] == [True, False]


async def test_what_nobody_listens_to_is_passed_without_an_effect(
    bank: Database, books: Database, make_relay: MakeRelay
):
    listener = Books()
    relay = make_relay(listener)
    await tell(bank, [Closed(1), *deposits(2), Closed(2)])
    await relay.step()
    assert await entered(books) == [0, 1]
    assert len(await rows(books, inbox)) == 2
    await tell(bank, [Closed(3)])
    await relay.step()
    assert await books.read(lambda tx: position_of(tx, listener.consumer)) == await bank.read(end_position)


async def test_what_was_told_before_the_consumer_was_born_reaches_it(
    bank: Database, books: Database, make_relay: MakeRelay
):
    await tell(bank, deposits(3))
    await drained(make_relay(Books()))
    await drained(make_relay(Books("books.newcomer")))
    assert await entered(books) == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize("seed", range(3))
async def test_a_relay_cancelled_anywhere_repeats_and_loses_nothing(
    bank: Database, books: Database, make_relay: MakeRelay, small_batches: int, seed: int
):
    """Cancelled after a random time; whatever it had begun may still be carried through beside its successor."""
    dice = random.Random(seed)
    await tell(bank, deposits(200), per_transaction=7)
    cancelled = 0
    while len(await entered(books)) < 200:
        running = asyncio.create_task(make_relay(Books()).run())
        await asyncio.sleep(dice.random() * 0.008)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        cancelled += 1
    assert cancelled > 2
    await drained(make_relay(Books()))
    assert await entered(books) == list(range(200))


@pytest.mark.parametrize("relays", [2, 5])
async def test_relays_that_race_for_one_consumer_are_harmless(
    bank: Database, books: Database, make_relay: MakeRelay, small_batches: int, relays: int, until: Until
):
    running = [asyncio.create_task(make_relay(Books()).run()) for _ in range(relays)]
    await tell(bank, deposits(150), per_transaction=6)

    async def all_entered() -> bool:
        return len(await entered(books)) >= 150

    await until(all_entered)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert await entered(books) == list(range(150))


async def test_a_relay_that_was_overtaken_between_reading_and_applying_does_nothing(
    bank: Database, books: Database, make_relay: MakeRelay
):
    await tell(bank, deposits(5))
    overtaken: list[None] = []

    class Overtaking(Shaky):
        async def write(self, work: Callable[[Tx], Any]) -> Any:
            if not overtaken:
                overtaken.append(None)
                await drained(make_relay(Books()))
            return await super().write(work)

    slow = make_relay(Books(), target=Overtaking(books))
    with pytest.raises(PositionMoved):
        await slow.step()
    assert await entered(books) == list(range(5))
    assert not await slow.step()


@pytest.mark.parametrize("which", ["source", "target"])
async def test_an_outage_pauses_the_relay_and_no_more(
    bank: Database,
    books: Database,
    make_relay: MakeRelay,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
    which: str,
):
    monkeypatch.setattr(module, "SWEEP_S", 0.001)
    monkeypatch.setattr(module, "OUTAGE_PAUSE_MAX_S", 0.004)
    source, target = Shaky(bank), Shaky(books)
    running = asyncio.create_task(make_relay(Books(), source=source, target=target).run())
    await tell(bank, deposits(3))

    async def has(count: int) -> bool:
        return len(await entered(books)) == count

    await until(lambda: has(3))
    shaky = source if which == "source" else target
    shaky.out = True
    await tell(bank, deposits(3, first=3))

    async def refused_often() -> bool:
        return shaky.refused > 5

    await until(refused_often)
    assert await entered(books) == [0, 1, 2]
    assert not running.done()
    shaky.out = False
    await until(lambda: has(6))
    running.cancel()


@pytest.mark.parametrize("which", ["source", "target"])
async def test_a_relay_that_starts_during_an_outage_waits_for_its_end(
    bank: Database, books: Database, make_relay: MakeRelay, monkeypatch: pytest.MonkeyPatch, until: Until, which: str
):
    monkeypatch.setattr(module, "SWEEP_S", 0.001)
    source, target = Shaky(bank), Shaky(books)
    shaky = source if which == "source" else target
    shaky.out = True
    await tell(bank, deposits(3))
    running = asyncio.create_task(make_relay(Books(), source=source, target=target).run())

    async def refused() -> bool:
        assert not running.done()
        return shaky.refused > 1

    async def arrived() -> bool:
        return await entered(books) == [0, 1, 2]

    await until(refused)
    shaky.out = False
    await until(arrived)
    running.cancel()


async def test_a_position_from_another_cluster_ends_the_relay_instead_of_waiting_for_ever(
    bank: Database, books: Database, make_relay: MakeRelay
):
    """As after restoring a dump: transactions are counted anew there."""
    listener = Books()
    await books.write(lambda tx: advance(tx, listener.consumer, START, Position(2**60, 1)))
    with pytest.raises(PositionFromElsewhere, match=r"books\.deposits stands at transaction"):
        async with asyncio.timeout(10):
            await make_relay(listener).run()


async def test_a_relay_at_rest_asks_nothing(
    bank: Database,
    books: Database,
    make_relay: MakeRelay,
    wakeups: Wakeups,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
):
    monkeypatch.setattr(module, "SWEEP_S", 3_600)
    monkeypatch.setattr(module, "PACE_S", 0)
    source = Shaky(bank)
    running = asyncio.create_task(make_relay(Books(), source=source).run())
    await tell(bank, deposits(1))
    wakeups.wake("bank")

    async def arrived() -> bool:
        return await entered(books) == [0]

    await until(arrived)
    await asyncio.sleep(0.03)
    asked = source.asked
    await asyncio.sleep(0.03)
    assert source.asked == asked
    running.cancel()


async def test_events_of_an_account_keep_their_order_although_transactions_do_not(
    bank: Database, books: Database, make_relay: MakeRelay
):
    """A transaction that has begun first may get the account's lock second: its number is lower, its event later."""
    await bank.write(lambda tx: [tx.execute(sa.insert(accounts).values(id=n)) for n in range(2)])
    gate = Gate()

    def lock(tx: Tx, account: int) -> None:
        tx.execute(sa.update(accounts).where(accounts.c.id == account).values(id=account))

    def begun_first(tx: Tx) -> None:
        lock(tx, 1)
        gate.hold(tx)
        lock(tx, 0)
        emit(tx, [Deposited(0, 3, 1)], NOW_MS)

    def locked_first(tx: Tx) -> None:
        lock(tx, 0)
        emit(tx, [Deposited(0, 0, 1)], NOW_MS)

    first = asyncio.create_task(bank.write(begun_first))
    await gate.entered()
    if bank.dialect == "sqlite":  # one writer: there the first to begin is the first to lock
        gate.open()
        await first
        await bank.write(locked_first)
    else:
        await bank.write(locked_first)
        gate.open()
        await first
    await drained(make_relay(Books()))
    expected = [3, 0] if bank.dialect == "sqlite" else [0, 3]
    assert await entered(books) == expected


async def test_while_events_come_in_from_everywhere_each_effect_happens_once(
    bank: Database, books: Database, make_relay: MakeRelay, wakeups: Wakeups, small_batches: int, until: Until
):
    running = asyncio.create_task(make_relay(Books()).run())

    async def teller(account: int) -> None:
        for number in range(account, 120, 3):
            await tell(bank, [Deposited(account, number, 1)])
            wakeups.wake("bank")

    await asyncio.gather(*(teller(account) for account in range(3)))

    async def all_entered() -> bool:
        return len(await entered(books)) >= 120

    await until(all_entered)
    running.cancel()
    numbers = await entered(books)
    assert sorted(numbers) == list(range(120))
    assert in_order_for_each_account(numbers)


async def test_a_lost_wake_up_costs_at_most_a_sweep(
    bank: Database, books: Database, make_relay: MakeRelay, until: Until
):
    running = asyncio.create_task(make_relay(Books()).run())

    async def resting() -> bool:
        return await books.read(lambda tx: position_of(tx, Books().consumer)) != START

    await tell(bank, deposits(1))
    await until(resting)
    told_s = time.monotonic()
    await tell(bank, deposits(1, first=1))  # and nobody is woken

    async def both() -> bool:
        return len(await entered(books)) == 2

    await until(both)
    running.cancel()
    assert time.monotonic() - told_s < module.SWEEP_S + 5, "a sweep, and time for a busy machine"


async def test_a_wake_up_saves_the_sweep(
    bank: Database,
    books: Database,
    make_relay: MakeRelay,
    wakeups: Wakeups,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
):
    monkeypatch.setattr(module, "SWEEP_S", 3_600)
    woken_next: list[str] = []
    wakeups.forward_to(woken_next.append)
    running = asyncio.create_task(make_relay(Books()).run())
    for number in range(3):
        await tell(bank, deposits(1, first=number))
        wakeups.wake("bank")

        async def arrived(count: int = number + 1) -> bool:
            """And whoever listens to the books is woken in turn, once the rows can be read."""
            return len(await entered(books)) == count == woken_next.count("books")

        await until(arrived)
    running.cancel()


async def test_a_wake_up_while_the_relay_is_at_work_is_not_forgotten(
    bank: Database,
    books: Database,
    make_relay: MakeRelay,
    wakeups: Wakeups,
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
):
    """It comes after the relay has looked, and before it rests."""
    monkeypatch.setattr(module, "SWEEP_S", 3_600)
    told: list[None] = []

    class Late(Shaky):
        async def read(self, work: Callable[[Tx], Any]) -> Any:
            answer = await super().read(work)
            if not told:
                told.append(None)
                await tell(bank, deposits(1))
                wakeups.wake("bank")
            return answer

    running = asyncio.create_task(make_relay(Books(), source=Late(bank)).run())

    async def arrived() -> bool:
        return await entered(books) == [0]

    await until(arrived)
    running.cancel()


def test_wake_ups_go_to_those_who_asked_and_are_passed_on_once():
    wakeups, passed_on = Wakeups(), []
    bank, again, books = (wakeups.subscribe(source) for source in ("bank", "bank", "books"))
    wakeups.wake("bank")
    assert (bank.is_set(), again.is_set(), books.is_set()) == (True, True, False)
    wakeups.forward_to(passed_on.append)
    wakeups.wake("books")
    wakeups.wake("nobody")
    wakeups.wake("bank", pass_on=False)
    assert passed_on == ["books", "nobody"]
    assert books.is_set()
