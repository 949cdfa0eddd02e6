"""From ticket to claim: drawn by lot, let in by turns, once each."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from contexts.waiting_room.conftest import DRAWN_MS, MERCHANT, House, customer
from doorbuster.contexts.flash_sale.tables import claims, spent_admissions
from doorbuster.contexts.waiting_room.model import draw_number
from doorbuster.contexts.waiting_room.tables import rooms, tickets
from doorbuster.contracts.flash_sale import SaleStarted
from doorbuster.contracts.waiting_room import RoomNotFound
from doorbuster.kernel.admission import AdmissionInvalid, AdmissionRequired
from doorbuster.kernel.errors import Forbidden
from doorbuster.kernel.principal import Principal


async def join(house: House, sale_id: int, *numbers: int) -> None:
    await asyncio.gather(*(house.room.service.join(customer(number), sale_id) for number in numbers))


async def admission_of(house: House, sale_id: int, number: int) -> str:
    token = (await house.standing(number, sale_id)).admission
    assert token is not None
    return token


async def refused(house: House, sale_id: int, customer_id: int, token: str | None, key: str = "k") -> str:
    with pytest.raises((AdmissionInvalid, AdmissionRequired)) as caught:
        await house.claim(sale_id, customer_id, token, key)
    return str(caught.value.extra.get("reason", "required"))


async def claims_of(house: House) -> list[int]:
    statement = sa.select(claims.c.customer_id).order_by(claims.c.customer_id)
    return list(await house.sale_database.read(lambda tx: tx.execute(statement).scalars().all()))


async def test_arrivals_before_the_opening_are_drawn_by_lot_and_later_ones_follow_in_order(house: House):
    sale_id = await house.guarded_sale()
    await join(house, sale_id, *range(1, 21))
    before = await house.room.service.room(sale_id)
    house.clock.advance(60_100)
    await join(house, sale_id, 21)
    await join(house, sale_id, 22)
    await house.tick(900)
    await join(house, sale_id, 23)
    found = await house.tickets(sale_id)
    assert [row.place for row in found] == list(range(1, 24))
    assert [row.customer_id - 1_000 for row in found[20:]] == [21, 22, 23]
    by_lot = [row.ticket_id for row in found[:20]]
    assert by_lot == sorted(by_lot, key=lambda each: draw_number(before.seed, each))
    assert by_lot != sorted(by_lot), "it is no order of arrival"
    house.clock.advance(2_001)  # what is shown may be two seconds old while it is read anew
    after = await house.room.service.room(sale_id)
    assert (after.seed_hash, after.lot) == (before.seed_hash, 20)
    assert await house.audit() == {}


async def test_a_customer_has_one_ticket_however_often_they_ask(house: House):
    sale_id = await house.guarded_sale()
    await join(house, sale_id, *[1] * 50, 2)
    assert len(await house.tickets(sale_id)) == 2


async def test_whoever_is_no_customer_gets_no_ticket(house: House):
    sale_id = await house.guarded_sale()
    for role in ("guest", "merchant", "admin", "courier", "support"):
        with pytest.raises(Forbidden):
            await house.room.service.join(Principal(5, role), sale_id)
    with pytest.raises(RoomNotFound):
        await house.room.service.join(customer(1), 404)
    assert await house.tickets(sale_id) == []


async def test_an_admission_is_good_for_one_claim_of_its_own_customer_in_its_own_sale(house: House):
    house.set(1, per_s=10.0)
    sale_id, other_sale = await house.guarded_sale(), await house.guarded_sale()
    await join(house, sale_id, 1, 2)
    await house.tick(DRAWN_MS)
    assert await house.tick() == 2
    token = await admission_of(house, sale_id, 1)
    assert await refused(house, sale_id, 1_001, None) == "required"
    assert await refused(house, sale_id, 1_002, token) == "not-yours"
    assert await refused(house, other_sale, 1_001, token) == "not-yours"
    assert await claims_of(house) == [], "refused, and not written"
    first = await house.claim(sale_id, 1_001, token)
    assert await house.claim(sale_id, 1_001, token) == first, "the same key gets the same answer"
    assert await refused(house, sale_id, 1_001, token, "another key") == "used"
    assert await claims_of(house) == [1_001]
    (spent,) = await house.sale_database.read(lambda tx: tx.execute(sa.select(spent_admissions)).all())
    assert (spent.customer_id, spent.order_id) == (1_001, first.order_id)
    for _ in range(2):  # told twice, used once
        await house.hear_of_claims()
    assert {row.state for row in await house.tickets(sale_id) if row.customer_id == 1_001} == {"used"}
    assert await admission_of(house, sale_id, 1) == token, "who has lost it may repeat the claim that it won"
    assert await house.claim(sale_id, 1_001, token) == first
    assert await house.audit() == {}


async def test_one_admission_shown_many_times_at_once_gives_one_claim(house: House):
    house.set(1, per_s=10.0)
    sale_id = await house.guarded_sale()
    await join(house, sale_id, 1)
    await house.tick(DRAWN_MS)
    await house.tick()
    token = await admission_of(house, sale_id, 1)
    outcomes = await asyncio.gather(
        *(house.claim(sale_id, 1_001, token, f"key-{n}") for n in range(50)), return_exceptions=True
    )
    assert sum(not isinstance(outcome, Exception) for outcome in outcomes) == 1
    assert await claims_of(house) == [1_001]


async def test_a_forged_admission_is_refused_whatever_byte_is_changed(house: House):
    sale_id = await house.guarded_sale()
    await join(house, sale_id, 1)
    await house.tick(DRAWN_MS)
    await house.tick()
    token = (await admission_of(house, sale_id, 1)).encode()
    for at in range(len(token)):
        for flip in (1, 0x20):
            forged = token[:at] + bytes([token[at] ^ flip]) + token[at + 1 :]
            with pytest.raises(AdmissionInvalid):
                house.keys.verify(forged)
    assert house.keys.verify(token).customer_id == 1_001


async def test_places_of_those_who_do_not_claim_go_to_the_next(house: House):
    house.set(1, per_s=100.0, unused_max=3, admitted_for_s=10)
    sale_id = await house.guarded_sale()
    await join(house, sale_id, *range(1, 11))
    await house.tick(DRAWN_MS)
    assert [await house.tick() for _ in range(3)] == [3, 0, 0], "no more than three are open at once"
    first = next(row for row in await house.tickets(sale_id) if row.place == 1)
    token = (await house.standing(first.customer_id - 1_000, sale_id)).admission
    assert await house.tick(12_500) == 3
    assert await refused(house, sale_id, first.customer_id, token) == "expired"
    states = [row.state for row in await house.tickets(sale_id)]
    assert states == ["expired"] * 3 + ["admitted"] * 3 + ["waiting"] * 4
    assert await claims_of(house) == []
    assert await house.audit() == {}


async def test_a_room_is_for_its_merchant_to_switch_and_only_before_the_opening(house: House):
    sale_id = await house.guarded_sale()
    with pytest.raises(Forbidden):
        await house.room.service.switch(Principal(78, "merchant"), sale_id, enabled=False)
    assert (await house.sale.service.doors([sale_id]))[0].guarded
    await house.room.service.switch(MERCHANT, sale_id, enabled=False)
    assert not (await house.sale.service.doors([sale_id]))[0].guarded
    house.clock.advance(60_000)
    with pytest.raises(SaleStarted):
        await house.room.service.switch(MERCHANT, sale_id, enabled=True)
    assert (await house.claim(sale_id, 1_001, None)).customer_id == 1_001


async def test_a_second_releaser_lets_nobody_in_twice(house: House):
    """Even without a lease: the row says that no time has passed."""
    house.set(1, per_s=5.0)
    sale_id = await house.guarded_sale()
    await join(house, sale_id, *range(1, 21))
    await house.tick(DRAWN_MS)
    other = type(house.room.releaser)(house.platform, house.room_database, house.sale.service)
    unlease = sa.update(rooms).values(lease_until_ms=0)
    await house.room_database.write(lambda tx: tx.execute(unlease))
    house.clock.advance(1_000)
    counts = [await house.room.releaser.tick(), await other.tick()]
    await house.room_database.write(lambda tx: tx.execute(unlease))
    counts.append(await other.tick())
    assert sum(counts) == 5
    assert await house.audit() == {}


async def test_the_audit_sees_a_claim_without_an_admission(house: House):
    house.set(1, per_s=10.0)
    sale_id = await house.guarded_sale()
    await join(house, sale_id, 1)
    await house.tick(DRAWN_MS)
    await house.tick()
    await house.claim(sale_id, 1_001, await admission_of(house, sale_id, 1))
    await house.sale_database.write(lambda tx: tx.execute(sa.delete(spent_admissions)))
    assert "guarded claims = admissions spent" in await house.audit()


async def test_the_audit_sees_who_was_let_in_out_of_turn(house: House):
    sale_id = await house.guarded_sale()
    await join(house, sale_id, 1, 2)
    await house.tick(DRAWN_MS)
    jump = sa.update(tickets).where(tickets.c.place == 2).values(state="admitted", admitted_ms=1, expires_ms=2)
    await house.room_database.write(lambda tx: tx.execute(jump))
    assert "let in = released, in turn" in await house.audit()
