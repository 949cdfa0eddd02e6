"""Whatever is asked of an order in whatever sequence: its books hold, and money and goods go back once."""

from __future__ import annotations

import random

import pytest

from contexts.orders.ordering_shop import MERCHANT, OrderingShop, shopper
from doorbuster.contexts.orders.model import RefundAsked, RefundLine
from doorbuster.contexts.orders.tables import orders
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.orders import GoodsReturned, Order, OrderCancelled, RefundRequested
from doorbuster.contracts.payments import Payment
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal

SELLER, SUPPORT = Principal(MERCHANT, "merchant"), Principal(3, "support")
STEPS, LIVES = 12, 12


async def step(shop: OrderingShop, dice: random.Random, order: Order, payment: Payment, at: int) -> None:
    """Something that somebody may ask at any time. Refusals are part of life."""
    what = dice.randrange(9)
    if what == 0:
        await shop.service.cancel(dice.choice([shopper(), SELLER, SUPPORT]), order.id)
    elif what == 1:
        await shop.service.send_off(order.id, "delivery", f"parcel {dice.randrange(2)}")
    elif what == 2:
        await shop.service.complete(order.id, "delivery", "delivered")
    elif what == 3:
        await shop.service.receive(shopper(), order.id)
    elif what == 4:
        await shop.deliver(shop.desk.capture(payment))
    elif what == 5:
        await shop.deliver(HoldLost(order.id, (9,)))
    elif what == 6:
        whole = RefundAsked((), order.total.amount, dice.random() < 0.5, "")
        await shop.service.refund(SELLER, order.id, f"w{at}", whole)
    else:
        units = (RefundLine(dice.randint(1, 2), dice.randint(1, 2)),)
        amount = dice.choice([None, None, 1, 700])
        asked = RefundAsked(units, amount, dice.random() < 0.5, "")
        await shop.service.refund(SUPPORT, order.id, f"p{at}", asked)


@pytest.mark.parametrize("seed", range(3))
async def test_any_life_keeps_its_books(shop: OrderingShop, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(LIVES):
        (order,) = await shop.service.place_many([shop.draft(discount=dice.choice([0, 1, 333]))])
        assert isinstance(order, Order)
        payment = shop.desk.open(order.id, amount=order.total)
        if dice.random() < 0.8:
            await shop.deliver(shop.desk.capture(payment))
        for at in range(STEPS):
            try:
                await step(shop, dice, order, payment, at)
            except ShopError:
                continue
        told = await shop.told(order.id)
        asked = [event for event in told if isinstance(event, RefundRequested)]
        row = await shop.row(order.id)
        assert sum(event.amount.amount for event in asked) == row.refunded_amount <= row.total_amount
        assert len({event.cause for event in asked}) == len(asked)
        cancelled = [event for event in told if isinstance(event, OrderCancelled)]
        assert len(cancelled) <= 1
        back = [event for event in told if isinstance(event, (GoodsReturned, OrderCancelled))]
        for line in order.lines:
            returned = sum(each.quantity for event in back for each in event.lines if each.sku_id == line.sku_id)
            assert returned <= line.quantity
        await shop.history(order.id)
    assert len(await shop.rows(orders)) == LIVES
    assert {check.name: check.breaches for check in await shop.service.audit() if check.verdict != "holds"} == {}
