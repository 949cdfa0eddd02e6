"""Two at once: one wins, and the rows say so. The database refuses what the code must not do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
import sqlalchemy as sa

from contexts.delivery.delivery_shop import KAI, LIN, MERCHANT, DeliveryShop
from doorbuster.contexts.delivery.rounds import Dispatcher
from doorbuster.contexts.delivery.tables import couriers, offers, tasks
from doorbuster.kernel.principal import Principal
from doorbuster.platform.sql.errors import RowRejected


async def at_once(*calls: Callable[[], Awaitable[object]]) -> Sequence[object]:
    """The calls behind a gate that opens for all; outcomes in order, refusals included."""
    gate = asyncio.Event()

    async def one(call: Callable[[], Awaitable[object]]) -> object:
        await gate.wait()
        return await call()

    running = [asyncio.create_task(one(call)) for call in calls]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*running, return_exceptions=True)


async def test_two_dispatchers_make_one_offer_per_task_and_courier(shop: DeliveryShop):
    await shop.ready(6)
    for i in range(6):
        await shop.online(Principal(500 + i, "courier"))
    other = Dispatcher(shop.platform, shop.database)
    made = await at_once(shop.built.dispatcher.round, other.round, shop.built.dispatcher.round)
    found = await shop.rows(offers)
    assert sum(each for each in made if isinstance(each, int)) == len(found)
    assert len({row.task_id for row in found}) == len({row.courier_id for row in found}) == len(found) == 6
    assert await shop.told("delivery.offer-made") == 6
    assert await shop.broken() == []


async def test_accepting_an_offer_many_times_at_once_assigns_once(shop: DeliveryShop):
    order_id, offer_id = await shop.offered(KAI)
    await at_once(*[lambda: shop.riding.accept(KAI, offer_id) for _ in range(6)])
    assert await shop.way(order_id) == ["waiting", "preparing", "ready", "assigned"]
    assert (await shop.rows(couriers))[0].load == 1


async def test_cancelling_against_accepting(shop: DeliveryShop):
    order_id, offer_id = await shop.offered(KAI)
    await at_once(lambda: shop.riding.accept(KAI, offer_id), lambda: shop.cancel(order_id))
    assert (await shop.task(order_id)).status == "cancelled"
    assert (await shop.rows(couriers))[0].load == 0
    assert await shop.broken() == []


async def test_cancelling_against_picking_up(shop: DeliveryShop):
    order_id = await shop.assigned(KAI)
    await at_once(lambda: shop.riding.pick_up(KAI, order_id), lambda: shop.cancel(order_id))
    status = (await shop.task(order_id)).status
    assert (status, shop.orders.known[order_id].status) in (("picked_up", "delivering"), ("cancelled", "refunding"))
    assert (await shop.rows(couriers))[0].load == (1 if status == "picked_up" else 0)
    assert await shop.broken() == []


async def test_accepting_against_expiry(shop: DeliveryShop):
    order_id, offer_id = await shop.offered(KAI)
    shop.clock.advance(29_999)
    late = Dispatcher(shop.platform, shop.database)

    async def expire() -> None:
        shop.clock.advance(1)
        await late.round()

    await at_once(lambda: shop.riding.accept(KAI, offer_id), expire)
    (offer,) = await shop.rows(offers)
    assert (offer.status, (await shop.task(order_id)).status) in (("accepted", "assigned"), ("expired", "ready"))
    assert await shop.broken() == []


async def test_reassigning_against_picking_up(shop: DeliveryShop):
    order_id = await shop.assigned(KAI)
    await shop.online(LIN)
    await at_once(lambda: shop.riding.pick_up(KAI, order_id), lambda: shop.service.reassign(MERCHANT, order_id))
    row = await shop.task(order_id)
    assert (row.status, row.courier_id, shop.orders.known[order_id].status) in (
        ("picked_up", KAI.account_id, "delivering"),
        ("ready", None, "paid"),
    )
    assert await shop.broken() == []


async def test_the_database_refuses_what_cannot_be(shop: DeliveryShop):
    order_id, offer_id = await shop.offered(KAI)
    (first,) = await shop.rows(offers)
    second = dict(zip(offers.columns.keys(), first, strict=True)) | {"id": offer_id + 1}
    impossible: list[sa.Executable] = [
        sa.insert(offers).values(second | {"task_id": 1}),
        sa.insert(offers).values(second | {"courier_id": 1}),
        sa.update(tasks).where(tasks.c.id == order_id).values(status="delivered", courier_id=1, delivered_ms=1),
        sa.update(tasks).where(tasks.c.id == order_id).values(status="assigned"),
        sa.update(couriers).values(load=-1),
    ]
    before = await shop.everything()
    for statement in impossible:
        with pytest.raises(RowRejected):
            await shop.database.write(lambda tx, statement=statement: tx.execute(statement))
    assert await shop.everything() == before
