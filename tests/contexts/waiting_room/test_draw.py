"""The draw while people arrive, and while the process that draws is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy.util import await_only

from conftest import NOW_MS
from contexts.crashing import die
from contexts.waiting_room.conftest import DRAWN_MS, OPENS_MS, House, customer
from contexts.waiting_room.crash_child import Job
from doorbuster.contexts.waiting_room import releasing, store
from doorbuster.contexts.waiting_room.model import Room, drawn_order
from doorbuster.contexts.waiting_room.service import Standing
from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Tx

T = TypeVar("T")
WORKERS, EACH = 30, 20
ASKS_MAX = 50
STEP_MS = 20


async def room_of(house: House, sale_id: int) -> Room:
    (room,) = await house.room_database.read(lambda tx: store.find_rooms(tx, [sale_id]))
    return room


def by_seed(room: Room, found: Sequence[Any]) -> list[int]:
    """Ticket ids by place, as anybody can work out who knows the seed."""
    return drawn_order(room.seed, [(row.ticket_id, row.number, row.arrived_ms) for row in found], room.opens_ms)[0]


async def test_whoever_arrives_during_the_draw_is_in_it_or_behind_it(house: House):
    """600 people, each again after a refusal, from half a second before the opening until after the draw."""
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    house.clock.advance(59_500)
    begun, drawn = asyncio.Event(), asyncio.Event()
    seen: list[Standing] = []

    async def come(worker: int) -> None:
        for number in range(worker * EACH, (worker + 1) * EACH):
            if number % EACH == EACH - 2:
                await drawn.wait()  # two of each come when it is over
            for _ in range(ASKS_MAX):
                try:
                    seen.append(await house.room.service.join(customer(number), sale_id))
                    break
                except Overloaded:
                    house.clock.advance(STEP_MS)
            else:
                raise AssertionError("refused again and again")
            if number % EACH == EACH // 2:
                begun.set()  # half of somebody's people have come: time goes on
                await asyncio.sleep(0)

    async def let_in() -> None:
        await begun.wait()
        while not drawn.is_set():
            house.clock.advance(STEP_MS)
            await house.room.releaser.tick()
            if (await room_of(house, sale_id)).drawn_ms is not None:
                drawn.set()

    await asyncio.gather(let_in(), *(come(worker) for worker in range(WORKERS)))
    found, room = await house.tickets(sale_id), await room_of(house, sale_id)
    people = WORKERS * EACH
    assert [row.place for row in found] == list(range(1, people + 1)), "without gaps, nobody twice"
    assert {row.customer_id for row in found} == {customer(n).account_id for n in range(people)}
    assert sorted(row.number for row in found) == list(range(1, people + 1))
    assert {row.ticket_id for row in found} == {each.ticket.ticket_id for each in seen}, "as they were told"
    assert [row.ticket_id for row in found] == by_seed(room, found)
    early = [row for row in found if row.arrived_ms < OPENS_MS]
    assert len(early) == room.lot
    assert 0 < room.lot < people
    assert [row.place for row in early] == list(range(1, room.lot + 1))
    told = {each.ticket.ticket_id: each.ticket.place for each in seen if each.ticket.place is not None}
    assert len(told) >= 2 * WORKERS
    assert {row.ticket_id: row.place for row in found if row.ticket_id in told} == told, "no place changes"
    assert await house.audit() == {}


async def test_whoever_waits_at_the_lock_while_it_draws_stands_behind_the_lot(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    """40 arrivals are sent to the database when all places are written, and before that is committed."""
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in range(60)))
    loop, at_the_lock = asyncio.get_running_loop(), asyncio.Event()
    late: list[asyncio.Task[Standing]] = []
    real_draw, real_write = releasing.draw, house.room_database.write

    async def write(work: Callable[[Tx], T]) -> T:
        at_the_lock.set()
        return await real_write(work)

    async def crowd() -> None:
        monkeypatch.setattr(house.room_database, "write", write)
        late.extend(asyncio.create_task(house.room.service.join(customer(n), sale_id)) for n in range(60, 100))
        await at_the_lock.wait()

    def draw(tx: Tx, room: Room) -> tuple[int, int]:
        drawn = real_draw(tx, room)
        if tx.dialect == "sqlite":
            asyncio.run_coroutine_threadsafe(crowd(), loop).result(30)
        else:
            await_only(crowd())
        return drawn

    monkeypatch.setattr(releasing, "draw", draw)
    await house.tick(DRAWN_MS)
    places = {(await each).ticket.place for each in late}
    assert places == set(range(61, 101)), "told at once"
    found, room = await house.tickets(sale_id), await room_of(house, sale_id)
    assert (room.lot, room.places) == (60, 100)
    assert [row.place for row in found] == list(range(1, 101))
    assert [row.ticket_id for row in found] == by_seed(room, found)
    assert await house.audit() == {}


@pytest.mark.parametrize(
    ("at", "is_drawn"), [("waiting-room.drawn-not-committed", False), ("waiting-room.released", True)]
)
async def test_a_draw_that_is_killed_is_done_once_by_the_seed_that_was_published(
    house: House, tmp_path: Path, database_settings: DatabaseSettings, at: str, is_drawn: bool
):
    """kill -9 when all places are written and not committed, and right behind the commit."""
    sale_id = await house.guarded_sale()
    await asyncio.gather(*(house.room.service.join(customer(n), sale_id) for n in range(300)))
    published = (await house.room.service.room(sale_id)).seed_hash
    await die(
        "contexts.waiting_room.crash_child",
        at,
        Job(str(tmp_path), database_settings.url or None, NOW_MS + DRAWN_MS - 1_000, 5.0),
    )
    left, killed = await house.tickets(sale_id), await room_of(house, sale_id)
    assert {row.place is not None for row in left} == {is_drawn}, "all of it or nothing"
    assert (killed.drawn_ms is not None, killed.places, killed.lot) == (is_drawn, *((300, 300) if is_drawn else (0, 0)))
    house.set(1, per_s=5.0)
    await house.tick(DRAWN_MS + 4_000)  # the dead process' lease, if it had one, is over
    room = await room_of(house, sale_id)
    for _ in range(3):
        assert await house.tick() == 5
    found, later = await house.tickets(sale_id), await room_of(house, sale_id)
    assert [row.place for row in found] == list(range(1, 301))
    assert [row.ticket_id for row in found] == by_seed(later, found)
    assert (later.seed_hash, later.lot, later.drawn_ms) == (published, 300, room.drawn_ms), "drawn once"
    if is_drawn:
        assert later.drawn_ms == killed.drawn_ms
        assert [row.ticket_id for row in left] == [row.ticket_id for row in found]
    assert await house.audit() == {}
