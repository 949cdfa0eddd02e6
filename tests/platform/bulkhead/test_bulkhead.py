"""Bounded places, a bounded queue, a bounded wait."""

from __future__ import annotations

import asyncio
import random

import pytest

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.bulkhead import Bulkhead, BulkheadSettings


class Inside:
    """Who is inside stays until let go."""

    def __init__(self, bulkhead: Bulkhead) -> None:
        self.bulkhead = bulkhead
        self.gate = asyncio.Event()
        self.most = self.now = 0
        self.order: list[int] = []

    async def visit(self, number: int, patience_s: float | None = None) -> None:
        async with self.bulkhead.place(patience_s):
            self.order.append(number)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.gate.wait()
            finally:
                self.now -= 1


async def until_settled(bulkhead: Bulkhead, under_way: int, waiting: int) -> None:
    async with asyncio.timeout(10):
        while (bulkhead.under_way, bulkhead.waiting) != (under_way, waiting):
            await asyncio.sleep(0)


async def test_so_many_are_inside_so_many_wait_and_the_next_is_refused_at_once():
    bulkhead = Bulkhead(lambda: BulkheadSettings(at_once=2, waiting_max=3))
    inside = Inside(bulkhead)
    visits = [asyncio.ensure_future(inside.visit(n)) for n in range(5)]
    await until_settled(bulkhead, 2, 3)
    for _ in range(100):
        with pytest.raises(Overloaded):
            await inside.visit(99)
    assert bulkhead.refused == 100
    inside.gate.set()
    await asyncio.gather(*visits)
    assert (inside.most, inside.order) == (2, [0, 1, 2, 3, 4]), "in order of arrival"
    assert (bulkhead.under_way, bulkhead.waiting) == (0, 0)


async def test_who_has_waited_long_enough_is_refused():
    bulkhead = Bulkhead(lambda: BulkheadSettings(at_once=1, wait_ms=1))
    inside = Inside(bulkhead)
    first = asyncio.ensure_future(inside.visit(1))
    await until_settled(bulkhead, 1, 0)
    with pytest.raises(Overloaded, match="too long"):
        await inside.visit(2)
    with pytest.raises(Overloaded, match="too long"):
        await inside.visit(3, patience_s=0)
    assert bulkhead.waiting == 0
    inside.gate.set()
    await first


async def test_who_goes_away_leaves_no_hole_in_the_queue():
    bulkhead = Bulkhead(lambda: BulkheadSettings(at_once=1))
    inside = Inside(bulkhead)
    visits = [asyncio.ensure_future(inside.visit(n)) for n in range(4)]
    await until_settled(bulkhead, 1, 3)
    visits[2].cancel()
    await until_settled(bulkhead, 1, 2)
    # The one whose turn it is goes in the very moment it gets the place.
    inside.gate.set()
    await visits[0]
    visits[1].cancel()
    await visits[3]
    assert inside.order[-1] == 3
    assert (bulkhead.under_way, bulkhead.waiting) == (0, 0)


async def test_changed_bounds_count_for_who_comes_and_goes():
    settings = BulkheadSettings(at_once=1)
    bulkhead = Bulkhead(lambda: settings)
    inside = Inside(bulkhead)
    visits = [asyncio.ensure_future(inside.visit(n)) for n in range(6)]
    await until_settled(bulkhead, 1, 5)
    settings = BulkheadSettings(at_once=4)
    inside.gate.set()
    await asyncio.gather(*visits)
    assert inside.most <= 4
    assert (bulkhead.under_way, bulkhead.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_places_are_never_lost_nor_given_twice(seed: int):
    dice = random.Random(seed)
    bulkhead = Bulkhead(lambda: BulkheadSettings(at_once=3, waiting_max=5, wait_ms=1 + seed % 3))
    most = now = 0

    async def visit() -> None:
        nonlocal most, now
        try:
            async with bulkhead.place():
                now += 1
                most = max(most, now)
                try:
                    await asyncio.sleep(dice.random() * 0.002)
                finally:
                    now -= 1
        except Overloaded:
            return

    visits: list[asyncio.Future[None]] = []
    for _ in range(200):
        visits.append(asyncio.ensure_future(visit()))
        if dice.random() < 0.3:
            dice.choice(visits).cancel()
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    await asyncio.gather(*visits, return_exceptions=True)
    assert most <= 3
    assert (bulkhead.under_way, bulkhead.waiting) == (0, 0)


async def test_a_stalled_one_takes_bounded_memory_and_leaves_the_others_alone():
    stalled, sound = (Bulkhead(lambda: BulkheadSettings(at_once=4, waiting_max=16)) for _ in range(2))
    inside = Inside(stalled)
    done = refused = 0

    async def ask_stalled() -> None:
        nonlocal refused
        try:
            await inside.visit(0)
        except Overloaded:
            refused += 1

    async def ask_sound() -> None:
        nonlocal done
        async with sound.place():
            await asyncio.sleep(0)
        done += 1

    calls: set[asyncio.Future[None]] = set()
    for _ in range(500):
        calls.add(asyncio.ensure_future(ask_stalled()))
        await ask_sound()
    await asyncio.sleep(0)
    assert (stalled.under_way, stalled.waiting, refused) == (4, 16, 480)
    assert sum(not call.done() for call in calls) == 20, "all that is kept of five hundred"
    assert (done, sound.refused) == (500, 0)
    inside.gate.set()
    await asyncio.gather(*calls)
