"""Many orders, couriers and merchants do what they like at once, and the books hold: no delivery without a pick-up, no
two couriers, no two offers, nobody forgotten, and in the end everything is delivered or cancelled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from contexts.delivery.delivery_shop import EVA, MERCHANT, SHOP, DeliveryShop
from doorbuster.contexts.delivery.rounds import Dispatcher
from doorbuster.contexts.delivery.tables import couriers, moves, offers, tasks
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.places import Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox

COURIERS = [Principal(401 + n, "courier") for n in range(4)]
STEPS, AT_ONCE, ORDERS = 60, 4, 8
ENDED = ("delivered", "cancelled")


@dataclass
class Town:
    """Everybody who may act, and what they may do; refusals are a part of life."""

    shop: DeliveryShop
    dice: random.Random
    orders: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    async def act(self) -> None:
        try:
            await self.dice.choice(self._deeds())()
        except ShopError as refusal:
            self.refused[refusal.slug] += 1

    def _deeds(self) -> list[Callable[[], Awaitable[object]]]:
        shop, dice = self.shop, self.dice
        order, courier, who = dice.choice(self.orders), dice.choice(COURIERS), dice.choice((MERCHANT, EVA))
        return [
            lambda: shop.service.accept(who, order),
            lambda: shop.service.ready(who, order),
            lambda: shop.service.ready(who, order),
            lambda: shop.service.reassign(who, order),
            lambda: shop.service.prioritise(EVA, order, dice.randint(-10, 10), urgent=dice.random() < 0.5),
            lambda: self._rarely(lambda: shop.service.decline(who, order, "")),
            lambda: self._rarely(lambda: shop.cancel(order)),
            lambda: shop.riding.presence(courier, online=dice.random() < 0.8),
            lambda: self._report(courier),
            lambda: self._answer(courier),
            lambda: self._answer(courier),
            lambda: self._carry(courier),
            lambda: self._carry(courier),
            lambda: Dispatcher(shop.platform, shop.database).round(),
            shop.built.dispatcher.round,
            shop.built.sweeper.sweep,
            self._time_passes,
            self._orders_are_away,
        ]

    async def _rarely(self, deed: Callable[[], Awaitable[object]]) -> None:
        if self.dice.random() < 0.3:
            await deed()

    async def _report(self, courier: Principal) -> None:
        at = Place(SHOP.latitude + self.dice.uniform(-0.02, 0.02), SHOP.longitude)
        await self.shop.riding.report(courier, [(at, 0)])

    async def _answer(self, courier: Principal) -> None:
        """An old offer now and then, also another's."""
        mine = [row.id for row in await self.shop.rows(offers) if row.courier_id == courier.account_id]
        if mine:
            offer_id = mine[-1] if self.dice.random() < 0.8 else self.dice.choice(mine)
            answer = self.shop.riding.decline if self.dice.random() < 0.2 else self.shop.riding.accept
            await asyncio.gather(*(answer(courier, offer_id) for _ in range(self.dice.choice((1, 1, 2)))))

    async def _carry(self, courier: Principal) -> None:
        """Whatever is carried, and now and then what is not."""
        carried = [task.id for task in await self.shop.riding.tasks(courier)] or self.orders
        deeds = (self.shop.riding.pick_up, self.shop.riding.deliver, self.shop.riding.give_up)
        await self.dice.choice(deeds)(courier, self.dice.choice(carried))

    async def _time_passes(self) -> None:
        self.shop.clock.advance(self.dice.choice((500, 5_000, 29_999, 30_001, 200_000)))

    async def _orders_are_away(self) -> None:
        self.shop.orders.away = self.dice.random() < 0.3

    async def come_to_rest(self) -> None:
        """Everybody does their duty until nothing is open."""
        self.shop.orders.away = False
        for _ in range(60):
            self.shop.clock.advance(10_000)
            await self.shop.built.sweeper.sweep()
            for row in await self.shop.rows(tasks):
                if row.status in ("waiting", "preparing"):
                    await (self.shop.service.accept if row.status == "waiting" else self.shop.service.ready)(
                        EVA, row.id
                    )
            for courier in COURIERS:
                await self.shop.riding.presence(courier, online=True)
                await self.shop.riding.report(courier, [(SHOP, 0)])
                for task in await self.shop.riding.tasks(courier):
                    deed = self.shop.riding.pick_up if task.status == "assigned" else self.shop.riding.deliver
                    await deed(courier, task.id)
            await self.shop.built.dispatcher.round()
            for row in await self.shop.rows(offers, offers.c.status == "open"):
                await self.shop.riding.accept(Principal(row.courier_id, "courier"), row.id)
            if all(row.status in ENDED for row in await self.shop.rows(tasks)):
                return
        raise AssertionError([(row.id, row.status) for row in await self.shop.rows(tasks)])


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_they_do_the_books_hold_and_everything_ends(shop: DeliveryShop, seed: int):
    town = Town(shop, random.Random(seed))
    await shop.service.put_place(MERCHANT, SHOP)
    town.orders = [await shop.paid() for _ in range(ORDERS)]
    for _ in range(STEPS):
        await asyncio.gather(*(town.act() for _ in range(AT_ONCE)))
        assert await shop.broken() == []
    await town.come_to_rest()
    assert await shop.broken() == []

    rows = await shop.rows(tasks)
    given_back = {row.id for row in rows if shop.orders.known[row.id].status in ("refunding", "refunded")}
    for row in rows:
        way = [move.to_status for move in await shop.rows(moves, moves.c.task_id == row.id)]
        assert way.count("delivered") == (row.status == "delivered")
        assert way.count("picked_up") <= 1
        if row.status == "delivered":
            assert way[-2:] == ["picked_up", "delivered"]
            assert shop.orders.known[row.id].status == "completed"
    assert not given_back & {row.id for row in rows if row.status == "delivered"}
    assert {row.load for row in await shop.rows(couriers)} <= {0}
    assert not await shop.rows(offers, offers.c.status == "open")
    told = Counter(row.type for row in await shop.rows(outbox))
    assert told["delivery.delivered"] == sum(row.status == "delivered" for row in rows)
    assert told["delivery.offer-made"] == len(await shop.rows(offers))
    assert town.refused, "something was refused"
