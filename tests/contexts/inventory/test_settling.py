"""Paid, cancelled, returned, expired: exactly once, in any order, asserted on rows."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from doorbuster.contexts.inventory import settling
from doorbuster.contexts.inventory.tables import holds, ledger, stock
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.flash_sale import AllotmentReturned
from doorbuster.contracts.inventory import HoldLost, HoldRequest, OutOfStock, SkuUnits, StockInvalid
from doorbuster.contracts.orders import GoodsReturned, OrderCancelled, OrderPaid, PaidLine
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.errors import RowRejected

NOW = 1_790_000_000_000
LINES = (PaidLine(1, 2),)
ZERO = ("received", "returned", "on_hand", "held", "allotted", "sold")


@pytest.fixture
async def inventory(open_inventory) -> InventoryContext:
    opened = await open_inventory("group_commit")
    await opened.service.receive_many(77, "first", [SkuUnits(1, 5)])
    return opened


def paid(order_id: int, sale_id: int | None = None) -> OrderPaid:
    return OrderPaid(order_id, 9, 8, Money(1, "EUR"), 77, sale_id, "parcel", LINES, None)


def cancelled(order_id: int, was_paid: bool, sale_id: int | None = None) -> OrderCancelled:
    return OrderCancelled(order_id, 9, sale_id, "customer", was_paid, LINES)


async def hold(inventory: InventoryContext, order_id: int, units: int = 2) -> None:
    await inventory.service.hold_many([HoldRequest(order_id, (SkuUnits(1, units),), NOW + 1000)])


async def balance(inventory: InventoryContext, database: Database) -> dict[str, int]:
    assert [check for check in await inventory.service.audit() if not check.ok] == []
    row = await database.read(lambda tx: tx.execute(sa.select(stock)).one())
    return {name: getattr(row, name) for name in ZERO if getattr(row, name)}


async def sell(database: Database, *events: OrderPaid) -> list[HoldLost]:
    return await database.write(lambda tx: settling.sell(tx, events, NOW))


async def test_a_hold_is_sold_once_and_comes_back_once(inventory: InventoryContext, database: Database) -> None:
    await hold(inventory, 1)
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5, "held": 2}
    for _ in range(2):
        assert await sell(database, paid(1)) == []
    assert await balance(inventory, database) == {"received": 5, "on_hand": 3, "sold": 2}
    part = GoodsReturned(1, 1, (PaidLine(1, 1),))
    await database.write(lambda tx: settling.take_back(tx, [part], NOW))
    for _ in range(2):
        await database.write(lambda tx: settling.cancel(tx, [cancelled(1, True)], NOW))
    assert await balance(inventory, database) == {"received": 5, "returned": 2, "on_hand": 5, "sold": 2}


async def test_holds_are_extended_together_and_never_shortened(inventory: InventoryContext, database: Database) -> None:
    """Also with the same order twice in a batch, with one that nobody knows, and with one that was let go."""
    for order_id in (1, 2, 3):
        await hold(inventory, order_id, 1)
    await inventory.service.release_many([3])
    answers = await asyncio.gather(
        inventory.service.extend_many([2, 1], NOW + 9000),
        inventory.service.extend_many([1], NOW + 5000),
        inventory.service.extend_many([3, 4], NOW + 9000),
        inventory.service.extend_many([], NOW),
    )
    assert answers == [{2: True, 1: True}, {1: True}, {3: False, 4: False}, {}]
    assert await inventory.service.extend_many([1], NOW + 10) == {1: True}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id, holds.c.until_ms)).all())
    assert {row.order_id: row.until_ms for row in rows} == {1: NOW + 9000, 2: NOW + 9000, 3: NOW + 1000}


async def test_an_extended_hold_is_kept_or_has_expired_before(
    inventory: InventoryContext, database: Database, clock: ManualClock
) -> None:
    """Whoever comes first: who was told that it is kept finds it held, the others find it released."""
    for order_id in range(1, 6):
        await hold(inventory, order_id, 1)
    clock.advance(2000)
    extending = [inventory.service.extend_many([order_id], NOW + 9000) for order_id in range(1, 6)]
    *kept, _ = await asyncio.gather(*extending, inventory.expiry.sweep())
    await inventory.expiry.sweep()
    told = {order_id for each in kept for order_id, is_kept in each.items() if is_kept}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id, holds.c.status)).all())
    assert {row.order_id for row in rows if row.status == "held"} == told
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5} | ({"held": len(told)} if told else {})


async def test_an_expired_hold_is_taken_again_or_lost(
    inventory: InventoryContext, database: Database, clock: ManualClock
) -> None:
    await hold(inventory, 1)
    await hold(inventory, 2)
    assert await inventory.expiry.sweep() == 0
    clock.advance(2000)
    assert await inventory.expiry.sweep() == 2
    assert await inventory.service.extend_many([1], NOW + 9000) == {1: False}
    await hold(inventory, 3, 3)
    assert await sell(database, paid(1), paid(2)) == [HoldLost(2, (1,))]
    assert await sell(database, paid(1), paid(2)) == []
    await database.write(lambda tx: settling.cancel(tx, [cancelled(2, True)], NOW))
    assert await balance(inventory, database) == {"received": 5, "on_hand": 3, "held": 3, "sold": 2}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id, holds.c.status)).all())
    assert sorted(tuple(row) for row in rows) == [(1, "sold"), (2, "released"), (3, "held")]


async def test_cancelled_before_anything_else(inventory: InventoryContext, database: Database) -> None:
    await database.write(lambda tx: settling.cancel(tx, [cancelled(1, False)], NOW))
    await hold(inventory, 1)
    assert await sell(database, paid(1)) == []
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5}


async def test_an_allotment_is_sold_taken_back_and_returned(inventory: InventoryContext, database: Database) -> None:
    for _ in range(2):
        await inventory.service.allot(50, 1, 4)
    with pytest.raises(StockInvalid):
        await inventory.service.allot(50, 1, 3)
    with pytest.raises(OutOfStock):
        await inventory.service.allot(51, 1, 2)
    for _ in range(2):
        await sell(database, paid(1, 50), paid(2, 50))
    assert await balance(inventory, database) == {"received": 5, "on_hand": 1, "sold": 4}
    rest = AllotmentReturned(50, 1, 1, 2)
    with pytest.raises(settling.TooEarly):
        await database.write(lambda tx: settling.unallot(tx, [rest], NOW))
    await database.write(lambda tx: settling.cancel(tx, [cancelled(2, True, 50)], NOW))
    assert await balance(inventory, database) == {
        "received": 5,
        "returned": 2,
        "on_hand": 3,
        "allotted": 2,
        "sold": 4,
    }
    await database.write(lambda tx: settling.unallot(tx, [rest], NOW))
    assert await balance(inventory, database) == {"received": 5, "returned": 2, "on_hand": 3, "sold": 4}
    (fact,) = await inventory.service.allotment_facts_of([50])
    assert (fact.allotted, fact.sold, fact.returned) == (4, 2, 2)


async def test_goods_cannot_come_back_before_they_were_sold(inventory: InventoryContext, database: Database) -> None:
    await hold(inventory, 1)
    with pytest.raises(settling.TooEarly):
        await database.write(lambda tx: settling.take_back(tx, [GoodsReturned(1, 1, LINES)], NOW))


@pytest.mark.parametrize("statement", [sa.update(ledger).values(quantity=9), sa.delete(ledger)])
async def test_the_ledger_is_only_appended_to(
    inventory: InventoryContext, database: Database, statement: sa.Executable
) -> None:
    with pytest.raises(RowRejected):
        await database.write(lambda tx: tx.execute(statement))
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5}


async def test_the_database_itself_refuses_what_no_strategy_may_write(
    inventory: InventoryContext, database: Database
) -> None:
    before = await database.read(lambda tx: tx.execute(sa.select(stock)).all())
    for values in (
        {"held": 6},
        {"held": -1},
        {"on_hand": -1, "received": 0, "sold": 1},
        {"allotted": 4, "held": 2},
        {"on_hand": 6},
        {"sold": -1, "on_hand": 6},
    ):
        with pytest.raises(RowRejected):
            await database.write(lambda tx, values=values: tx.execute(sa.update(stock).values(values)))
    assert await database.read(lambda tx: tx.execute(sa.select(stock)).all()) == before
