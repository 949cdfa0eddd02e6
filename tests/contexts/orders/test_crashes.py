"""kill -9 while an order is placed, refunded or loses its units: done again, it has happened once."""

from __future__ import annotations

from pathlib import Path

import pytest

from contexts.crashing import die
from contexts.orders.crash_child import Job, whole
from contexts.orders.ordering_shop import MERCHANT, OrderingShop
from doorbuster.contexts.orders.tables import orders, refunds
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.orders import Order, OrderCancelled, OrderDraft, OrderPaid, OrderPlaced, RefundRequested
from doorbuster.kernel.principal import Principal
from doorbuster.platform.settings.tree import DatabaseSettings

CHILD = "contexts.orders.crash_child"
SELLER = Principal(MERCHANT, "merchant")


class Crashing:
    def __init__(self, shop: OrderingShop, folder: Path, url: str) -> None:
        self.shop, self._folder, self._url = shop, folder, url

    async def die(self, at: str, what: str, draft: OrderDraft) -> None:
        await die(CHILD, at, Job(what, str(self._folder), self._url, self.shop.clock.now_ms(), draft))

    async def paid(self) -> tuple[OrderDraft, Order]:
        draft = self.shop.draft()
        (order,) = await self.shop.service.place_many([draft])
        assert isinstance(order, Order)
        await self.shop.deliver(self.shop.desk.capture(self.shop.desk.open(order.id, amount=order.total)))
        return draft, order

    async def told(self, draft: OrderDraft) -> list[type]:
        return [type(event) for event in await self.shop.told(draft.id)]

    async def sound(self) -> None:
        assert [check for check in await self.shop.service.audit() if check.verdict != "holds"] == []


@pytest.fixture
def crashing(shop: OrderingShop, tmp_path: Path, database_settings: DatabaseSettings) -> Crashing:
    return Crashing(shop, tmp_path, database_settings.url)


@pytest.mark.parametrize("point", ["orders.placed-not-committed", "orders.placed"])
async def test_killed_while_an_order_is_placed(crashing: Crashing, point: str) -> None:
    draft = crashing.shop.draft()
    await crashing.die(point, "place", draft)
    assert len(await crashing.shop.rows(orders)) == (point == "orders.placed")
    for _ in range(2):
        (order,) = await crashing.shop.service.place_many([draft])
        assert isinstance(order, Order)
    assert [row.id for row in await crashing.shop.rows(orders)] == [draft.id]
    assert await crashing.told(draft) == [OrderPlaced]
    await crashing.sound()


async def test_killed_while_it_is_refunded(crashing: Crashing) -> None:
    draft, order = await crashing.paid()
    before = await crashing.shop.everything()
    await crashing.die("orders.refund-not-committed", "refund", draft)
    assert await crashing.shop.everything() == before
    for _ in range(2):
        refunded = await crashing.shop.service.refund(SELLER, order.id, "k", whole(draft))
        assert (refunded.status, refunded.refunded) == ("refunding", order.total)
    assert [row.amount for row in await crashing.shop.rows(refunds)] == [order.total.amount]
    assert await crashing.told(draft) == [OrderPlaced, OrderPaid, RefundRequested, OrderCancelled]
    await crashing.sound()


async def test_killed_while_its_money_goes_back_because_its_units_are_gone(crashing: Crashing) -> None:
    draft, order = await crashing.paid()
    before = await crashing.shop.everything()
    await crashing.die("orders.hold-lost-not-committed", "lose", draft)
    assert await crashing.shop.everything() == before
    for _ in range(2):
        await crashing.shop.deliver_as([99], HoldLost(order.id, (9,)))
    assert await crashing.shop.status(order.id) == "refunding"
    assert await crashing.told(draft) == [OrderPlaced, OrderPaid, OrderCancelled, RefundRequested]
    await crashing.sound()
