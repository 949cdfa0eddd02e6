"""One behaviour for all five strategies, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import sqlalchemy as sa

from doorbuster.contexts.inventory.tables import hold_lines, holds, ledger, stock
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.inventory import Hold, HoldReleased, HoldRequest, OutOfStock, SkuUnits
from doorbuster.platform.sql.database import Database

MERCHANT = 77
STRATEGIES = ["pessimistic", "optimistic", "redis_lua", "redis_lock", "group_commit"]
UNTIL = 1_790_000_900_000


def wants(order_id: int, *lines: tuple[int, int]) -> HoldRequest:
    return HoldRequest(order_id, tuple(SkuUnits(*line) for line in lines), UNTIL)


async def stocked(inventory: InventoryContext) -> None:
    if inventory.scripted is not None:
        await inventory.scripted.reconcile()


async def receive(inventory: InventoryContext, *lines: tuple[int, int]) -> None:
    await inventory.service.receive_many(MERCHANT, "first", [SkuUnits(*line) for line in lines])
    await stocked(inventory)


async def audited(inventory: InventoryContext) -> None:
    assert [check for check in await inventory.service.audit() if not check.ok] == []


@pytest.fixture(params=STRATEGIES)
async def inventory(request: pytest.FixtureRequest, open_inventory) -> InventoryContext:
    return await open_inventory(request.param)


async def test_200_buyers_for_20_units(inventory: InventoryContext, database: Database) -> None:
    await receive(inventory, (1, 20))
    outcomes = await inventory.service.hold_many([wants(order, (1, 1)) for order in range(1, 201)])
    assert Counter(type(outcome) for outcome in outcomes) == {Hold: 20, OutOfStock: 180}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
    held = await database.read(lambda tx: tx.execute(sa.select(stock.c.held)).scalar_one())
    assert len(rows) == 20
    assert held == 20
    await audited(inventory)


async def test_overlapping_lines_do_not_deadlock(inventory: InventoryContext, database: Database) -> None:
    await receive(inventory, (1, 15), (2, 15), (3, 15))
    pairs = [((1, 1), (2, 1)), ((2, 1), (1, 1)), ((3, 1), (1, 1)), ((2, 1), (3, 1))]
    outcomes = await inventory.service.hold_many([wants(order, *pairs[order % 4]) for order in range(1, 41)])
    assert {type(outcome) for outcome in outcomes} <= {Hold, OutOfStock}
    held = sum(isinstance(outcome, Hold) for outcome in outcomes)
    assert held >= 15
    lines = await database.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(hold_lines)).scalar_one())
    assert lines == 2 * held
    await audited(inventory)


async def test_all_or_nothing_and_lines_are_summed(inventory: InventoryContext, database: Database) -> None:
    await receive(inventory, (1, 3), (2, 1))
    refused, summed, held = await inventory.service.hold_many(
        [wants(1, (1, 1), (2, 2)), wants(2, (1, 2), (1, 2)), wants(3, (1, 1), (1, 2))]
    )
    assert isinstance(refused, OutOfStock)
    assert refused.extra == {"sku_ids": ["2"]}
    assert isinstance(summed, OutOfStock)
    assert isinstance(held, Hold)
    assert [line.quantity for line in held.lines] == [3]
    assert await inventory.service.available([1, 2, 9]) == {1: 0, 2: 1, 9: 0}
    await audited(inventory)


async def test_an_order_gets_its_hold_again(inventory: InventoryContext, database: Database) -> None:
    await receive(inventory, (1, 1))
    (first,) = await inventory.service.hold_many([wants(1, (1, 1))])
    again = await inventory.service.hold_many([wants(1, (1, 1)), wants(1, (1, 500)), wants(1, (1, 1))])
    assert list(again) == [first] * 3
    entries = await database.read(lambda tx: tx.execute(sa.select(ledger.c.kind)).scalars().all())
    assert sorted(entries) == ["hold", "receive"]


async def test_a_hold_after_its_release_is_refused(inventory: InventoryContext, database: Database) -> None:
    await receive(inventory, (1, 1))
    await inventory.service.hold_many([wants(1, (1, 1))])
    await inventory.service.release_many([1, 2])
    await inventory.service.release_many([1, 2])
    await stocked(inventory)
    late, never, other = await inventory.service.hold_many([wants(1, (1, 1)), wants(2, (1, 1)), wants(3, (1, 1))])
    assert isinstance(late, HoldReleased)
    assert isinstance(never, HoldReleased)
    assert isinstance(other, Hold)
    await audited(inventory)


async def test_release_races_hold(inventory: InventoryContext) -> None:
    await receive(inventory, (1, 50))
    orders = range(1, 31)
    await asyncio.gather(
        inventory.service.hold_many([wants(order, (1, 1)) for order in orders]),
        inventory.service.release_many(list(orders)),
    )
    assert (await inventory.service.available([1]))[1] == 50
    await audited(inventory)
