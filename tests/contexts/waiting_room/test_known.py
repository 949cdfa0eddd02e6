"""Thousands watch one row: it is read once for all of them, and what is remembered stays bounded and right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext as _nothing
from typing import TypeVar

import pytest

from contexts.waiting_room.conftest import House, customer
from doorbuster.contexts.waiting_room import known
from doorbuster.contexts.waiting_room.known import KnownRooms
from doorbuster.contexts.waiting_room.service import Standing
from doorbuster.contracts.waiting_room import RoomNotFound
from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.sql.database import Database, Dialect, Tx

T = TypeVar("T")


class Counting:
    """A real database whose readings are counted, and stopped while `goes_on` is not set."""

    def __init__(self, database: Database) -> None:
        self.real = database
        self.reads = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.fails = False

    @property
    def dialect(self) -> Dialect:
        return self.real.dialect

    @property
    def name(self) -> str:
        return self.real.name

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.real.write(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        self.reads += 1
        await self.goes_on.wait()
        if self.fails:
            raise Unavailable
        return await self.real.read(work)

    async def close(self) -> None:
        await self.real.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_cold_crowd_reads_a_room_once(house: House):
    sale_id = await house.guarded_sale()
    database = Counting(house.room_database)
    rooms = KnownRooms(database, house.clock)
    found = await asyncio.gather(*(rooms.room(sale_id) for _ in range(5_000)))
    assert {room.sale_id for room in found} == {sale_id}
    missing = await asyncio.gather(*(rooms.room(404) for _ in range(5_000)), return_exceptions=True)
    assert {type(each) for each in missing} == {RoomNotFound}
    assert database.reads == 2


async def test_a_stale_entry_answers_while_it_is_read_again_but_not_for_ever(house: House):
    sale_id = await house.guarded_sale()
    database = Counting(house.room_database)
    rooms = KnownRooms(database, house.clock)
    first = await rooms.room(sale_id)
    database.goes_on.clear()
    house.clock.advance(501)
    found = await asyncio.gather(*(rooms.room(sale_id) for _ in range(1_000)))
    assert all(room is first for room in found)
    await until(lambda: database.reads == 2)
    house.clock.advance(1_500)
    waits = asyncio.ensure_future(rooms.room(sale_id))
    database.fails = True
    database.goes_on.set()
    with pytest.raises(Unavailable):
        await waits
    assert database.reads == 2, "it waited for the reading that was under way"
    database.fails = False
    assert (await rooms.room(sale_id)).sale_id == sale_id


async def test_a_clock_that_is_set_back_does_not_make_entries_last(house: House):
    sale_id = await house.guarded_sale()
    database = Counting(house.room_database)
    rooms = KnownRooms(database, house.clock)
    await rooms.room(sale_id)
    house.clock.advance(-3_600_000)
    for _ in range(10):
        house.clock.advance(2_001)
        await rooms.room(sale_id)
    assert database.reads == 11


async def test_followed_rooms_are_told_although_more_are_asked_for_than_are_remembered(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(known, "KNOWN_MAX", 4)
    followed = [await house.guarded_sale() for _ in range(3)]
    rooms = KnownRooms(house.room_database, house.clock)
    rooms.topics = lambda: followed
    for sale_id in (404, followed[0], 405, 406):
        with pytest.raises(RoomNotFound) if sale_id < 1_000 else _nothing():
            await rooms.room(sale_id)
    assert sorted(await rooms.next()) == sorted(followed)
    rooms.topics = lambda: [*followed, *range(400, 404)]
    assert await rooms.next() == [], "nothing has changed, also if not all of them are remembered"


async def test_a_cold_crowd_gets_its_tickets_with_one_look_at_the_room(house: House, monkeypatch: pytest.MonkeyPatch):
    sale_id = await house.guarded_sale()
    house.clock.advance(10_000)
    reads = 0
    real = house.room_database.read

    async def read(work: Callable[[Tx], T]) -> T:
        nonlocal reads
        reads += 1
        return await real(work)

    monkeypatch.setattr(house.room_database, "read", read)
    joins = (house.room.service.join(customer(n), sale_id) for n in range(500))
    outcomes = await asyncio.gather(*joins, return_exceptions=True)
    assert reads == 1
    assert {type(each) for each in outcomes} <= {Standing, Overloaded}, "a busy machine may ask some to come again"
    served = sum(isinstance(each, Standing) for each in outcomes)
    assert len(await house.tickets(sale_id)) == served > 0
