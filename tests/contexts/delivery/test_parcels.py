"""Parcels, on rows."""

from __future__ import annotations

import pytest

from contexts.delivery.delivery_shop import ANN, BEN, MERCHANT, OTHER_MERCHANT, DeliveryShop
from doorbuster.contexts.delivery.parcels import ShipmentDraft, TrackingDraft
from doorbuster.contracts.delivery import MoveNotPossible, ShipmentNotFound
from doorbuster.contracts.orders import OrderNotShippable
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused

DRAFT = ShipmentDraft("SF", "SF123")


async def test_sent_once_and_told_once(shop: DeliveryShop):
    order_id, parcels = await shop.paid("parcel"), shop.built.service.parcels
    first = await parcels.send(MERCHANT, order_id, "k", DRAFT)
    assert await parcels.send(MERCHANT, order_id, "k", DRAFT) == first
    with pytest.raises(IdempotencyKeyReused):
        await parcels.send(MERCHANT, order_id, "k", ShipmentDraft("SF", "SF124"))
    with pytest.raises(MoveNotPossible):
        await parcels.send(MERCHANT, order_id, "other", DRAFT)
    row = await shop.parcel(order_id)
    assert (row.status, row.tracking_number) == ("sent", "SF123")
    assert (await shop.told("delivery.parcel-sent"), shop.orders.known[order_id].status) == (1, "shipped")


async def test_a_sending_cut_short_is_carried_on(shop: DeliveryShop):
    order_id = await shop.paid("parcel")
    shop.orders.away = True
    with pytest.raises(Unavailable):
        await shop.built.service.parcels.send(MERCHANT, order_id, "k", DRAFT)
    assert (await shop.parcel(order_id)).status == "sending"
    shop.orders.away = False
    shop.clock.advance(6_000)
    await shop.built.sweeper.sweep()
    assert (await shop.parcel(order_id)).status == "sent"
    assert await shop.broken() == []


async def test_a_refund_that_was_faster_wins(shop: DeliveryShop):
    order_id = await shop.paid("parcel")
    shop.orders.give_back(order_id)
    with pytest.raises(OrderNotShippable):
        await shop.built.service.parcels.send(MERCHANT, order_id, "k", DRAFT)
    assert (await shop.parcel(order_id)).status == "cancelled"
    assert await shop.told("delivery.parcel-sent") == 0


async def test_tracking_is_added_by_its_merchant_and_read_by_its_customer(shop: DeliveryShop):
    order_id, parcels = await shop.paid("parcel"), shop.built.service.parcels
    news = TrackingDraft("arrived", "Hangzhou")
    with pytest.raises(MoveNotPossible):
        await parcels.track(MERCHANT, order_id, "t", news)
    await parcels.send(MERCHANT, order_id, "k", DRAFT)
    await parcels.track(MERCHANT, order_id, "t", news)
    await parcels.track(MERCHANT, order_id, "t", news)
    before = await shop.everything()
    with pytest.raises(ShipmentNotFound):
        await parcels.track(OTHER_MERCHANT, order_id, "x", news)
    with pytest.raises(ShipmentNotFound):
        await parcels.send(OTHER_MERCHANT, order_id, "x", DRAFT)
    with pytest.raises(ShipmentNotFound):
        await parcels.parcel(BEN, order_id)
    assert await shop.everything() == before
    shipment, tracking = await parcels.parcel(ANN, order_id)
    assert (shipment.status, [each.description for each in tracking]) == ("sent", ["arrived"])
