"""A takeout order from its payment to the door, on rows."""

from __future__ import annotations

import asyncpg
import pytest

from contexts.delivery.delivery_shop import (
    ANN,
    BEN,
    EVA,
    KAI,
    LIN,
    MERCHANT,
    OTHER_MERCHANT,
    DeliveryShop,
    cancelled_event,
    paid_event,
)
from doorbuster.contexts.delivery.tables import couriers, offers, tasks
from doorbuster.contracts.delivery import (
    CourierBusy,
    CourierOffline,
    DeliveryInvalid,
    MoveNotPossible,
    OfferGone,
    OfferNotFound,
    TaskNotFound,
    TooManyPositions,
)
from doorbuster.contracts.orders import OrderNotFound
from doorbuster.kernel.errors import ShopError, Unavailable
from doorbuster.kernel.places import Place


async def test_from_payment_to_the_door(shop: DeliveryShop):
    order_id = await shop.assigned()
    await shop.riding.pick_up(KAI, order_id)
    shop.clock.advance(1_000)
    await shop.riding.report(KAI, [(Place(30.255, 120.155), 0)])
    await shop.riding.deliver(KAI, order_id)
    assert await shop.way(order_id) == ["waiting", "preparing", "ready", "assigned", "picked_up", "delivered"]
    assert shop.orders.known[order_id].status == "completed"
    assert await shop.told("delivery.delivered") == await shop.told("delivery.courier-assigned") == 1
    (courier,) = await shop.rows(couriers)
    assert (courier.load, courier.delivered_today) == (0, 1)
    assert b'"position"' in b"".join(await shop.seen(order_id))
    await shop.riding.deliver(KAI, order_id)  # again: nothing new
    assert await shop.told("delivery.delivered") == 1
    assert await shop.broken() == []


async def test_an_order_can_be_served_before_its_event_comes(shop: DeliveryShop):
    await shop.service.put_place(MERCHANT, Place(1.0, 2.0))
    order = shop.order()
    await shop.service.accept(MERCHANT, order.id)
    await shop.hear(paid_event(order))
    assert await shop.way(order.id) == ["waiting", "preparing"]


async def test_a_merchant_without_a_place_accepts_nothing(shop: DeliveryShop):
    order_id = await shop.paid()
    with pytest.raises(DeliveryInvalid):
        await shop.service.accept(MERCHANT, order_id)
    assert (await shop.task(order_id)).status == "waiting"


async def test_declining_by_the_merchant_is_told(shop: DeliveryShop):
    order_id = await shop.paid()
    await shop.service.decline(MERCHANT, order_id, "sold out")
    await shop.service.decline(MERCHANT, order_id, "sold out")
    assert (await shop.task(order_id)).status == "cancelled"
    assert await shop.told("delivery.declined") == 1


async def test_cancelling_withdraws_the_offer_at_once(shop: DeliveryShop):
    order_id, offer_id = await shop.offered()
    assert await shop.cancel(order_id)
    (offer,) = await shop.rows(offers)
    assert (offer.status, (await shop.task(order_id)).status) == ("withdrawn", "cancelled")
    with pytest.raises(OfferGone):
        await shop.riding.accept(KAI, offer_id)
    assert await shop.broken() == []


async def test_cancelled_before_it_was_known(shop: DeliveryShop):
    order, parcel = shop.order(), shop.order("parcel")
    await shop.hear(cancelled_event(order.id), cancelled_event(parcel.id))
    await shop.hear(paid_event(order), paid_event(parcel))
    assert await shop.way(order.id) == ["waiting", "cancelled"]
    assert (await shop.parcel(parcel.id)).status == "cancelled"


async def test_an_offer_expires_and_another_courier_is_asked(shop: DeliveryShop):
    order_id, offer_id = await shop.offered()
    shop.clock.advance(30_000)
    with pytest.raises(OfferGone):
        await shop.riding.accept(KAI, offer_id)
    await shop.online(KAI)
    await shop.built.dispatcher.round()
    (offer,) = await shop.rows(offers)
    assert offer.status == "expired", "and the same courier is not asked again"
    await shop.online(LIN)
    await shop.built.dispatcher.round()
    (offer,) = await shop.rows(offers, offers.c.status == "open")
    assert (offer.task_id, offer.courier_id) == (order_id, LIN.account_id)


async def test_declining_giving_up_and_reassigning_exclude_the_courier(shop: DeliveryShop):
    order_id = await shop.assigned(KAI)
    await shop.riding.give_up(KAI, order_id)
    await shop.built.dispatcher.round()
    assert await shop.rows(offers, offers.c.status == "open") == []
    await shop.online(LIN)
    await shop.built.dispatcher.round()
    (offer,) = await shop.rows(offers, offers.c.status == "open")
    await shop.riding.accept(LIN, offer.id)
    await shop.service.reassign(MERCHANT, order_id)
    assert (await shop.task(order_id)).courier_id is None
    with pytest.raises(OfferGone):
        await shop.riding.accept(LIN, offer.id)
    assert await shop.broken() == []


async def test_a_silent_courier_loses_the_task_and_a_late_one_is_urgent(shop: DeliveryShop):
    order_id = await shop.assigned()
    shop.clock.advance(181_000)
    await shop.built.sweeper.sweep()
    assert (await shop.task(order_id)).status == "ready"
    shop.clock.advance(901_000)
    await shop.built.sweeper.sweep()
    row = await shop.task(order_id)
    assert (row.urgent, row.alarmed_ms is not None) == (True, True)
    assert await shop.broken() == []


async def test_a_pick_up_cut_short_is_carried_on(shop: DeliveryShop):
    order_id = await shop.assigned()
    shop.orders.away = True
    with pytest.raises(Unavailable):
        await shop.riding.pick_up(KAI, order_id)
    assert (await shop.task(order_id)).step == "picking_up"
    with pytest.raises(MoveNotPossible):
        await shop.riding.give_up(KAI, order_id)
    shop.clock.advance(6_000)
    await shop.built.sweeper.sweep()
    shop.orders.away = False
    shop.clock.advance(6_000)
    await shop.built.sweeper.sweep()
    assert (await shop.task(order_id)).status == "picked_up"


async def test_a_pick_up_of_what_was_given_back(shop: DeliveryShop):
    order_id = await shop.assigned()
    shop.orders.give_back(order_id)
    with pytest.raises(MoveNotPossible):
        await shop.riding.pick_up(KAI, order_id)
    assert (await shop.task(order_id)).status == "cancelled"
    (courier,) = await shop.rows(couriers)
    assert courier.load == 0


async def test_presence_and_positions_have_rules(shop: DeliveryShop):
    with pytest.raises(CourierOffline):
        await shop.riding.report(KAI, [(Place(0.0, 0.0), 0)])
    await shop.online(KAI)
    with pytest.raises(TooManyPositions):
        await shop.riding.report(KAI, [(Place(0.0, 0.0), 0)])
    await shop.assigned(KAI)
    with pytest.raises(CourierBusy):
        await shop.riding.presence(KAI, online=False)


async def test_what_belongs_to_others_does_not_exist_and_stays_as_it_is(shop: DeliveryShop):
    order_id, offer_id = await shop.offered(KAI)
    await shop.online(LIN)
    before = await shop.everything()
    refused: list[tuple[type[ShopError], object]] = [
        (OfferNotFound, shop.riding.accept(LIN, offer_id)),
        (OfferNotFound, shop.riding.decline(LIN, offer_id)),
        (TaskNotFound, shop.riding.pick_up(LIN, order_id)),
        (TaskNotFound, shop.riding.deliver(LIN, order_id)),
        (TaskNotFound, shop.riding.give_up(LIN, order_id)),
        (TaskNotFound, shop.service.accept(OTHER_MERCHANT, order_id)),
        (TaskNotFound, shop.service.decline(OTHER_MERCHANT, order_id, "")),
        (TaskNotFound, shop.service.reassign(OTHER_MERCHANT, order_id)),
        (TaskNotFound, shop.service.delivery(BEN, order_id)),
        (OrderNotFound, shop.service.reader(BEN, order_id)),
    ]
    for kind, call in refused:
        with pytest.raises(kind):
            await call  # type: ignore[misc]
    assert await shop.everything() == before
    assert (await shop.service.delivery(ANN, order_id))[0].id == order_id


async def test_who_is_put_first_is_asked_for_first_until_the_pick_up(shop: DeliveryShop):
    older, younger, urgent = await shop.ready(3)
    await shop.service.prioritise(EVA, younger, 10, urgent=False)
    await shop.service.prioritise(EVA, urgent, 10, urgent=True)
    for expected in (urgent, younger, older):
        await shop.online(KAI)
        await shop.built.dispatcher.round()
        (offer,) = await shop.rows(offers, offers.c.status == "open")
        assert offer.task_id == expected
        await shop.riding.accept(KAI, offer.id)
        await shop.riding.pick_up(KAI, expected)
        with pytest.raises(MoveNotPossible):
            await shop.service.prioritise(EVA, expected, 0, urgent=True)
        await shop.riding.deliver(KAI, expected)
    assert [(row.priority, row.urgent) for row in await shop.rows(tasks)] == [(0, False), (10, False), (10, True)]


async def called_off(shop: DeliveryShop) -> int:
    return await shop.told("delivery.courier-called-off")


async def test_who_loses_an_offer_or_a_task_is_told_unless_they_said_so(shop: DeliveryShop):
    order_id, _ = await shop.offered(KAI)
    await shop.cancel(order_id)
    assert await called_off(shop) == 1
    order_id = await shop.assigned(KAI)
    await shop.cancel(order_id)
    assert await called_off(shop) == 2
    await shop.hear(cancelled_event(order_id))  # again: nothing new
    order_id = await shop.assigned(KAI)
    await shop.service.reassign(MERCHANT, order_id)
    assert await called_off(shop) == 3
    await shop.online(LIN)
    await shop.built.dispatcher.round()
    (offer,) = await shop.rows(offers, offers.c.status == "open")
    await shop.riding.accept(LIN, offer.id)
    await shop.riding.give_up(LIN, order_id)
    assert await called_off(shop) == 3, "LIN gave it up"
    order_id = await shop.assigned(KAI)
    shop.clock.advance(181_000)
    await shop.built.sweeper.sweep()
    assert await called_off(shop) == 4
    assert await shop.broken() == []


async def test_what_is_just_moving_is_not_alarmed_and_nobody_waits_for_it(shop: DeliveryShop):
    """The alarm would stay on the task it has become, which nobody would hear of any more."""
    still, moving = await shop.ready(2)
    shop.clock.advance(901_000)
    if shop.database.dialect == "sqlite":  # one writer: nothing moves while it sweeps
        await shop.built.sweeper.sweep()
        assert [row.alarmed_ms is not None for row in await shop.rows(tasks)] == [True, True]
        return
    url = shop.database._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    other = await asyncpg.connect(url, server_settings={"search_path": "delivery"})
    async with other.transaction():
        await other.execute("UPDATE tasks SET changed_ms = $1 WHERE id = $2", shop.clock.now_ms(), moving)
        await shop.built.sweeper.sweep()
    await other.close()
    await shop.built.sweeper.sweep()
    assert {row.id: row.alarmed_ms is not None for row in await shop.rows(tasks)} == {still: True, moving: False}
