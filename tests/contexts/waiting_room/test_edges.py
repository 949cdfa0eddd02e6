"""What goes wrong at the edges: around the opening, when the clock steps, and in the room next door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from contexts.waiting_room.conftest import DRAWN_MS, MERCHANT, OPENS_MS, SKU, House, customer
from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.arriving import Arrival, take_tickets
from doorbuster.contracts.flash_sale import SaleProposal, SaleStarted
from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Tx

T = TypeVar("T")


async def enabled(house: House, sale_id: int) -> tuple[bool, bool]:
    """By the room, and by the sale."""
    (room,) = await house.room_database.read(lambda tx: store.find_rooms(tx, [sale_id]))
    return room.enabled, (await house.sale.service.doors([sale_id]))[0].guarded


async def test_a_room_that_is_switched_off_too_late_stays(house: House, monkeypatch: pytest.MonkeyPatch):
    sale_id = await house.guarded_sale()
    real = house.sale.service.guard

    async def late(sale_id: int, *, guarded: bool) -> Any:
        house.clock.advance(60_001)  # the opening comes between the room and the sale
        return await real(sale_id, guarded=guarded)

    monkeypatch.setattr(house.sale.service, "guard", late)
    with pytest.raises(SaleStarted):
        await house.room.service.switch(MERCHANT, sale_id, enabled=False)
    assert await enabled(house, sale_id) == (True, True)
    assert (await house.room.service.join(customer(1), sale_id)).ticket.customer_id == customer(1).account_id


@pytest.mark.parametrize("guarded", [True, False])
async def test_after_the_opening_the_room_is_what_the_sale_is(house: House, guarded: bool):
    """Whoever switched it died between the room and the sale."""
    sale_id = await house.guarded_sale()
    if not guarded:
        await house.sale.service.guard(sale_id, guarded=False)

    def half(tx: Tx) -> None:
        (room,) = store.lock_rooms(tx, [sale_id])
        store.update_room(tx, room, enabled=not guarded)

    await house.room_database.write(half)
    house.clock.advance(DRAWN_MS)
    await house.tick()
    assert await enabled(house, sale_id) == (guarded, guarded)


async def test_no_sale_is_guarded_once_it_has_opened(house: House, monkeypatch: pytest.MonkeyPatch):
    proposal = SaleProposal(SKU.sku_id, 10, Money(990, "CNY"), 2, OPENS_MS, OPENS_MS + 3_600_000, 60_000)
    sale_id = (await house.sale.service.create_sale(MERCHANT, "k", proposal)).terms.sale_id
    house.clock.advance(59_999)
    write = house.sale_database.write

    async def slow(work: Callable[[Tx], T]) -> T:
        monkeypatch.undo()
        house.clock.advance(500)  # it waits for the writer, and the sale opens
        await house.claim(sale_id, 1001, None)
        return await write(work)

    monkeypatch.setattr(house.sale.service._database, "write", slow)
    with pytest.raises(SaleStarted):
        await house.room.service.switch(MERCHANT, sale_id, enabled=True)
    assert await enabled(house, sale_id) == (False, False)
    assert await house.audit() == {}


async def test_whose_ticket_is_written_too_late_comes_again_and_nothing_is_written(house: House):
    sale_id = await house.guarded_sale()
    for number in range(3):
        await house.room.service.join(customer(number), sale_id)
    early = Arrival(sale_id, 5000, OPENS_MS - 100)  # came before the opening; its commit waits beyond the draw
    await house.tick(DRAWN_MS)
    (outcome,) = await house.room_database.write(
        lambda tx: take_tickets(tx, [early], house.clock, house.platform.ids.next)
    )
    assert isinstance(outcome, Overloaded)
    assert len(await house.tickets(sale_id)) == 3
    again = Arrival(sale_id, 5000, house.clock.now_ms() - 1_000)
    (ticket,) = await house.room_database.write(
        lambda tx: take_tickets(tx, [again], house.clock, house.platform.ids.next)
    )
    assert not isinstance(ticket, Exception)
    assert ticket.place == 4


async def test_a_clock_that_is_set_back_stops_nobody_for_long(house: House):
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    for number in range(30):
        await house.room.service.join(customer(number), sale_id)
    house.clock.advance(100_000)
    await house.tick(DRAWN_MS)
    before = sum([await house.tick() for _ in range(2)])
    house.clock.advance(-60_000)
    after = [await house.tick() for _ in range(4)]
    assert after[0] == 0, "no time has passed that anybody knows of"
    assert sum(after) >= 14, (before, after)


async def test_a_lease_of_before_the_clock_was_set_back_is_over(house: House):
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    await house.room.service.join(customer(1), sale_id)
    await house.tick(DRAWN_MS)

    def somebody_elses(tx: Tx) -> None:
        (room,) = store.lock_rooms(tx, [sale_id])
        store.note(tx, room, releaser="dead", lease_until_ms=house.clock.now_ms() + 3_600_000)

    await house.room_database.write(somebody_elses)
    assert await house.tick() == 1
