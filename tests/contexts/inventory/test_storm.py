"""Everything that moves stock at once, by two processes, over SKUs in every order: nobody waits in a circle, and the
books hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from conftest import OpenDatabase
from contexts.deadlocks import deadlocks
from contexts.inventory.conftest import MERCHANT, Shop
from contexts.orders.gate import all_at_once
from doorbuster.contexts.inventory import settling
from doorbuster.contexts.inventory.service import InventoryService, Opening
from doorbuster.contexts.inventory.tables import holds
from doorbuster.contexts.inventory.wiring import InventoryContext, build
from doorbuster.contracts.flash_sale import AllotmentReturned
from doorbuster.contracts.inventory import Hold, HoldReleased, HoldRequest, OutOfStock, SkuUnits
from doorbuster.contracts.orders import GoodsReturned, OrderCancelled, OrderPaid, PaidLine
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database

NOW = 1_790_000_000_000
SKUS = (1, 2, 3, 4)
SELLER = Principal(MERCHANT, "merchant")
Deed = Callable[[], Awaitable[object]]


@pytest.fixture
async def two(
    open_inventory, open_database: OpenDatabase, platform: Platform, database: Database
) -> list[tuple[InventoryContext, Database]]:
    """The same inventory as two processes have it."""
    first = await open_inventory("group_commit")
    elsewhere = replace(platform, ids=Snowflake(SystemClock(), worker=2), wakeups=Wakeups())
    other = await open_database("inventory", "doorbuster.contexts.inventory.migrations")
    return [(first, database), (build(elsewhere, other, Shop()), other)]


class Storm:
    """What becomes of orders, by chance: every neighbour's message may come to either process."""

    def __init__(self, two: list[tuple[InventoryContext, Database]], seed: int) -> None:
        self._two, self._chance = two, random.Random(seed)

    def _one(self) -> tuple[InventoryService, Database]:
        context, database = self._chance.choice(self._two)
        return context.service, database

    def life(self, order_id: int) -> list[Deed]:
        """Its hold, and at the same time a release or not; an order is written, paid and so on when it is held."""
        chosen = self._chance.sample(SKUS, self._chance.randint(2, 4))
        lines = tuple(SkuUnits(sku_id, self._chance.randint(1, 2)) for sku_id in chosen)
        request = HoldRequest(order_id, lines, NOW + self._chance.choice([500, 5_000]))
        paid = OrderPaid(order_id, 9, 8, Money(1, "EUR"), MERCHANT, None, "parcel", _units(lines), None)
        back = GoodsReturned(order_id, 1, _units(lines[:1]))
        gone = OrderCancelled(order_id, 9, None, "customer", False, _units(lines))
        later: list[Deed] = [
            lambda: self._hold(request),
            lambda: self._one()[0].extend_many([order_id], NOW + 9_000),
            lambda: self._settle(lambda tx: settling.sell(tx, [paid], NOW)),
            lambda: self._settle(lambda tx: settling.take_back(tx, [back], NOW)),
            lambda: self._settle(lambda tx: settling.cancel(tx, [gone], NOW)),
        ]
        chosen_deeds = self._chance.sample(later, 4)

        async def live() -> None:
            await self._hold(request)
            await asyncio.gather(*(deed() for deed in chosen_deeds))

        return [live, lambda: self._one()[0].release_many([order_id])] if self._chance.random() < 0.2 else [live]

    async def _hold(self, request: HoldRequest) -> None:
        (outcome,) = await self._one()[0].hold_many([request])
        assert isinstance(outcome, (Hold, OutOfStock, HoldReleased)), outcome

    async def _settle(self, work: Callable[..., object]) -> None:
        try:
            await self._one()[1].write(work)
        except settling.TooEarly:
            return  # the bus brings it again

    def of_the_merchant(self, n: int, places: list[int]) -> list[Deed]:
        lines = [SkuUnits(sku_id, 2) for sku_id in self._chance.sample(SKUS, 3)]
        there = self._chance.sample(places, 2)
        sku_id = self._chance.choice(SKUS)
        rest = AllotmentReturned(n, sku_id, 1, 2)
        return [
            lambda: self._one()[0].receive(SELLER, f"r{n}", lines, there[0]),
            lambda: self._one()[0].transfer(SELLER, f"t{n}", lines, *there),
            lambda: self._one()[0].write_off(SELLER, f"w{n}", lines, there[1]),
            lambda: self._one()[0].allot(n, sku_id, 2),
            lambda: self._settle(lambda tx: settling.unallot(tx, [rest], NOW)),
            lambda: self._chance.choice(self._two)[0].expiry.sweep(),
        ]

    def shuffled(self, deeds: list[Deed]) -> list[Deed]:
        self._chance.shuffle(deeds)
        return deeds


def _units(lines: tuple[SkuUnits, ...]) -> tuple[PaidLine, ...]:
    return tuple(PaidLine(line.sku_id, line.quantity) for line in lines)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whatever_happens_at_once_the_books_hold_and_nobody_waits_in_a_circle(
    two: list[tuple[InventoryContext, Database]],
    database: Database,
    database_settings: DatabaseSettings,
    clock: ManualClock,
    seed: int,
) -> None:
    before = await deadlocks(database_settings.url)
    service = two[0][0].service
    await service.receive_many(MERCHANT, "first", [SkuUnits(sku_id, 40) for sku_id in SKUS])
    second = await service.open_warehouse(SELLER, "north", Opening("north", "North", 1))
    await service.receive(SELLER, "north", [SkuUnits(sku_id, 20) for sku_id in SKUS], second.id)
    (main,) = [place.id for place in (await service.list_warehouses(SELLER, 0, 10)).items if place.code == "main"]
    clock.advance(1_000)
    storm = Storm(two, seed)
    deeds = [deed for order_id in range(1, 61) for deed in storm.life(order_id)]
    deeds += [deed for n in range(1, 11) for deed in storm.of_the_merchant(n, [main, second.id])]
    outcomes = await all_at_once(storm.shuffled(deeds))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert [failure for failure in failures if not isinstance(failure, OutOfStock)] == []
    assert [check for check in await service.audit() if check.verdict != "holds"] == []
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.status)).scalars().all())
    assert len(Counter(rows)) > 1, "a storm in which everything ends alike proves little"
    for _, mine in two:
        await mine.close()
    assert await deadlocks(database_settings.url, after_all=True) == before
