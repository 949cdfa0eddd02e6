"""What a tick costs, whom it reaches, and what becomes of a room that fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from structlog.testing import capture_logs

from contexts.waiting_room.conftest import DRAWN_MS, MERCHANT, OPENS_MS, House, customer
from contexts.waiting_room.simulated import EMPTY
from doorbuster.contexts.flash_sale import store as sales
from doorbuster.contexts.waiting_room import releasing, store
from doorbuster.contexts.waiting_room.outages import FORGOTTEN_MS
from doorbuster.contexts.waiting_room.pacing import RoomSettings
from doorbuster.contexts.waiting_room.releasing import Releaser
from doorbuster.contexts.waiting_room.tables import rooms, tickets
from doorbuster.contexts.waiting_room.turns import turn
from doorbuster.kernel.errors import Busy, Unavailable
from doorbuster.kernel.principal import Principal
from doorbuster.platform.sql.database import Tx
from live_server import live_server

T = TypeVar("T")


@contextmanager
def counted_writes(house: House) -> Iterator[list[str]]:
    """Names of the databases that were written to, a name for each transaction."""
    written: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for database in (house.room_database, house.sale_database):

            async def write(work: Callable[[Tx], T], real: Any = database.write, name: str = database.name) -> T:
                written.append(name)
                return await real(work)

            patch.setattr(database, "write", write)
        yield written


async def room_row(house: House, sale_id: int) -> sa.Row[Any]:
    return await house.room_database.read(
        lambda tx: tx.execute(sa.select(rooms).where(rooms.c.sale_id == sale_id)).one()
    )


async def idle(house: House, sale_id: int, ticks: int = 10) -> None:
    before = await room_row(house, sale_id)
    with counted_writes(house) as written:
        assert sum([await house.tick() for _ in range(ticks)]) == 0
    assert written == []
    assert await room_row(house, sale_id) == before


async def test_a_tick_of_a_room_that_has_nothing_to_do_writes_nothing(house: House):
    house.set(1, per_s=10.0, admitted_for_s=20)
    sale_id = await house.guarded_sale()
    await house.room.service.join(customer(1), sale_id)
    await idle(house, sale_id)  # opens later
    await house.tick(DRAWN_MS - 10_000)
    with counted_writes(house) as written:
        assert await house.tick() == 1
    assert written == ["waiting_room"]
    await idle(house, sale_id)  # everybody was let in, and nobody has let the admission pass
    await house.room.service.join(customer(2), sale_id)
    assert await house.tick() == 1, "whoever comes to an idle room is let in by the next tick"
    await idle(house, sale_id)
    house.clock.advance(12_000)
    with counted_writes(house) as written:
        await house.tick()
    assert written == ["waiting_room"]
    assert {row.state for row in await house.tickets(sale_id)} == {"expired"}
    await idle(house, sale_id)


async def test_a_room_that_nobody_may_be_let_in_from_comes_to_rest(house: House):
    """Sold out with people waiting: the measured flow dies away, then nothing is written until units come back."""
    house.set(1, per_s=1.0)
    sale_id = await house.guarded_sale(units=1)
    for number in range(3):
        await house.room.service.join(customer(number), sale_id)
    await house.tick(DRAWN_MS)
    await house.tick()
    first = next(row for row in await house.tickets(sale_id) if row.place == 1)
    admission = (await house.standing(first.customer_id - 1_000, sale_id)).admission
    claim = await house.claim(sale_id, first.customer_id, admission)
    await house.hear_of_claims()
    for _ in range(400):
        assert await house.tick() == 0
        if (await room_row(house, sale_id)).flow == 0:
            break
    await idle(house, sale_id)
    back = [(claim.order_id, sale_id)]
    await house.sale_database.write(lambda tx: sales.release(tx, back, house.clock.now_ms()) and None)
    assert sum([await house.tick() for _ in range(3)]) == 2, "both who still wait"
    assert await house.audit() == {}


async def test_whoever_finds_work_first_takes_the_lease_of_an_idle_room(house: House):
    house.set(1, per_s=1.0)
    sale_id = await house.guarded_sale()
    other = Releaser(house.platform, house.room_database, house.sale.service)
    await house.room.service.join(customer(1), sale_id)
    await house.tick(DRAWN_MS)
    await house.tick()
    await idle(house, sale_id)  # the lease has ended
    for number in range(2, 5):
        await house.room.service.join(customer(number), sale_id)
    house.clock.advance(1_000)
    assert await other.tick() == 1, "the second since they came, and of the rest before it half a one"
    with counted_writes(house) as written:
        assert await house.room.releaser.tick() == 0
        assert await house.tick() == 0
    assert written == [], "the other one has the lease"
    assert await other.tick() == 1
    assert await house.audit() == {}


async def test_rooms_that_open_later_or_are_switched_off_keep_none_from_its_turn(house: House):
    """More of each than a tick looks at, before it in every order."""
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    for number in range(5):
        await house.room.service.join(customer(number), sale_id)
    row = dict((await room_row(house, sale_id))._mapping)
    off = [{**row, "sale_id": 1 + n, "enabled": False, "closes_ms": OPENS_MS + n} for n in range(store.ROOMS_PAGE)]
    later = [
        {**row, "sale_id": 1_000 + n, "opens_ms": OPENS_MS + 600_000, "closes_ms": OPENS_MS + 600_001}
        for n in range(store.ROOMS_PAGE)
    ]
    await house.room_database.write(lambda tx: tx.execute(sa.insert(rooms), [*off, *later]) and None)
    await house.tick(DRAWN_MS)
    assert [await house.tick() for _ in range(3)] == [5, 0, 0]


async def test_more_rooms_than_a_tick_looks_after_take_turns(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "ROOMS_PAGE", 5)
    house.set(1, per_s=1.0)
    sale_ids = [await house.guarded_sale() for _ in range(12)]
    for sale_id in sale_ids:
        for number in range(4):
            await house.room.service.join(customer(number), sale_id)
    house.clock.advance(DRAWN_MS)
    for _ in range(3):
        await house.room.releaser.tick()
    assert {(await room_row(house, sale_id)).places for sale_id in sale_ids} == {4}
    for _ in range(6):
        await house.tick(500)
    assert {(await room_row(house, sale_id)).released for sale_id in sale_ids} <= {2, 3}, "in three seconds, one each"
    assert await house.audit() == {}


async def test_a_sale_that_opens_early_is_noticed_among_many(house: House, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "ROOMS_PAGE", 5)
    house.set(1, per_s=5.0)
    sale_ids = [await house.guarded_sale() for _ in range(12)]
    await house.room.service.join(customer(1), sale_ids[-1])
    await house.sale.service.open_sale(MERCHANT, sale_ids[-1])
    for _ in range(3):
        await house.tick(100)
    await house.tick(1_000)
    assert await house.tick() == 1


async def two_rooms(house: House) -> tuple[int, int]:
    house.set(1, per_s=5.0)
    bad, good = await house.guarded_sale(), await house.guarded_sale()
    for sale_id in (bad, good):
        for number in range(10):
            await house.room.service.join(customer(number), sale_id)
    return bad, good


@pytest.mark.parametrize("database_settings", ["postgres"], indirect=True)
async def test_a_room_whose_row_somebody_holds_keeps_none_from_its_ticks(house: House):
    """As another process does that draws. SQLite has one writer for a file: there everybody waits for it."""
    bad, good = await two_rooms(house)
    await house.tick(DRAWN_MS)
    await house.tick(500)
    holding, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(tx: Tx) -> None:
        store.lock_rooms(tx, [bad])
        loop.call_soon(holding.set)
        while not let_go.is_set():
            tx.execute(sa.text("SELECT pg_sleep(0.02)"))

    held = asyncio.create_task(house.room_database.write(hold))
    await holding.wait()
    before = (await room_row(house, good)).released
    house.clock.advance(1_000)
    async with asyncio.timeout(20):
        while (await room_row(house, good)).released < before + 5:
            with suppress(Busy):  # on a machine that is busy the held one may come to its time limit
                await house.room.releaser.tick(patience_s=0.05)
    assert (await room_row(house, good)).released == before + 5, "a second's worth"
    assert not held.done()
    let_go.set()
    await held
    async with asyncio.timeout(20):
        while not (await room_row(house, bad)).released:
            with suppress(Busy):
                await house.room.releaser.tick()
    assert await house.audit() == {}


def test_what_was_measured_before_a_rest_raises_nothing_after_it():
    """A room that let in 400 a second, of whom 390 claimed, rests for an hour; then a crowd comes."""
    settings = RoomSettings()
    before = replace(EMPTY, drawn_ms=1, places=50_000, released=500, rate=400_000, used_flow=390_000, flow=400_000)
    _, rested = turn(before, settings, 0.0, 10**6, 3_600_000)
    assert rested["used_flow"] == 0
    assert rested["rate"] <= 400_000
    let_in, _ = turn(replace(before, flow=0), settings, 0.0, 10**6, 3_600_000)
    assert let_in <= 200, "of the rest of a room that might let nobody in, a tick's length counts"


async def failing(house: House) -> Any:
    async with (
        live_server([house.room.context.faces()]) as server,
        httpx.AsyncClient(base_url=server.http) as client,
    ):
        admin = server.headers(Principal(1, "admin"))
        return (await client.get("/v1/admin/waiting-rooms", headers=admin)).json()["failing"]


async def test_a_room_that_fails_is_told_of_once_counted_and_does_not_hold_up_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
):
    bad, good = await two_rooms(house)
    real = releasing.draw

    def fails(tx: Tx, room: Any) -> Any:
        if room.sale_id == bad:
            raise Unavailable("statement timeout")
        return real(tx, room)

    monkeypatch.setattr(releasing, "draw", fails)
    with capture_logs() as logs:
        await house.tick(DRAWN_MS)
        since_ms = house.clock.now_ms()
        assert [await house.tick(), await house.tick()] == [5, 5]
        assert {row.place for row in await house.tickets(bad)} == {None}
        (seen,) = await failing(house)
        assert (seen["sale_id"], seen["failures"]) == (str(bad), 3)
        assert "statement timeout" in seen["error"]
        monkeypatch.undo()
        await house.tick()
    told = [(each["event"], each["sale_id"]) for each in logs if each.get("sale_id") in (bad, good)]
    assert told == [("a waiting room fails", bad), ("a waiting room goes on", bad)]
    assert since_ms == house.clock.now_ms() - 3_000
    assert await failing(house) == []
    assert {row.place for row in await house.tickets(bad)} == set(range(1, 11))


async def test_a_room_whose_rows_are_broken_ends_neither_the_process_nor_the_others(house: House):
    """A place has been torn out of it by hand: whoever lets people in notices, and lets nobody in."""
    bad, good = await two_rooms(house)
    await house.tick(DRAWN_MS)
    tear = sa.update(tickets).where(tickets.c.sale_id == bad, tickets.c.place == 3).values(place=None)
    await house.room_database.write(lambda tx: tx.execute(tear) and None)
    with capture_logs() as logs:
        assert [await house.tick(), await house.tick()] == [5, 5]
    assert (await room_row(house, bad)).released == 0
    assert (await room_row(house, good)).released == 10
    (seen,) = await failing(house)
    assert (seen["sale_id"], seen["failures"]) == (str(bad), 2)
    told = [each for each in logs if each["event"] == "a waiting room fails"]
    assert [(each["sale_id"], each["exc_info"]) for each in told] == [(bad, True)]
    house.clock.advance(FORGOTTEN_MS + 1)
    assert await failing(house) == [], "another process has it, or it is over"


async def test_when_every_room_fails_the_releaser_waits(house: House, monkeypatch: pytest.MonkeyPatch):
    bad, good = await two_rooms(house)

    def fails(tx: Tx, room: Any) -> Any:
        raise Unavailable("statement timeout")

    monkeypatch.setattr(releasing, "draw", fails)
    with pytest.raises(Unavailable):
        await house.tick(DRAWN_MS)
    assert {each["sale_id"] for each in await failing(house)} == {str(bad), str(good)}
