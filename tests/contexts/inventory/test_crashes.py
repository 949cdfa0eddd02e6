"""kill -9 between any two steps of the warehouse: done again, everything has happened once."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from contexts.crashing import die
from contexts.inventory.crash_child import Job
from contexts.inventory.test_settling import balance, cancelled, paid
from doorbuster.contexts.inventory.tables import holds
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.inventory import Hold, HoldReleased, HoldRequest, SkuUnits
from doorbuster.contracts.orders import GoodsReturned, PaidLine
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.events import Envelope
from doorbuster.platform.bus.consumer import handle_once
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database

CHILD = "contexts.inventory.crash_child"
EVENTS = {
    "paid": ((paid(1),), {"received": 5, "on_hand": 3, "sold": 2}),
    "returned": (
        (paid(1), GoodsReturned(1, 1, (PaidLine(1, 1),))),
        {"received": 5, "returned": 1, "on_hand": 4, "sold": 2},
    ),
    "cancelled": ((cancelled(1, was_paid=False),), {"received": 5, "on_hand": 5}),
    "cancelled after all": (
        (paid(1), cancelled(1, was_paid=True)),
        {"received": 5, "returned": 2, "on_hand": 5, "sold": 2},
    ),
}


@pytest.fixture
async def inventory(open_inventory) -> InventoryContext:
    opened = await open_inventory("group_commit")
    await opened.service.receive_many(77, "first", [SkuUnits(1, 5)])
    return opened


@pytest.fixture
async def job(
    inventory: InventoryContext, clock: ManualClock, tmp_path: Path, database_settings: DatabaseSettings
) -> Job:
    """Order 1 holds two units for a second."""
    await inventory.service.hold_many([HoldRequest(1, (SkuUnits(1, 2),), clock.now_ms() + 1000)])
    return Job("", str(tmp_path), database_settings.url, clock.now_ms(), 1)


@pytest.mark.parametrize("what", EVENTS)
async def test_killed_while_it_settles_what_orders_told(
    inventory: InventoryContext, database: Database, job: Job, what: str
) -> None:
    events, end = EVENTS[what]
    before = await balance(inventory, database)
    await die(CHILD, "inventory.settled-not-committed", replace(job, what="settle", events=events))
    assert await balance(inventory, database) == before, "a transaction that was not committed left something"
    consumer = inventory.context.consumers[0]
    envelopes = [Envelope("orders", n, job.now_ms, event) for n, event in enumerate(events, start=1)]
    for _ in range(2):
        await database.write(lambda tx: handle_once(tx, consumer, envelopes))
        assert await balance(inventory, database) == end


async def test_killed_after_it_has_let_go(inventory: InventoryContext, database: Database, job: Job) -> None:
    await die(CHILD, "inventory.released", replace(job, what="release"))
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5}
    await inventory.service.release_many([1])
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5}
    (late,) = await inventory.service.hold_many([HoldRequest(1, (SkuUnits(1, 2),), job.now_ms + 9000)])
    assert isinstance(late, HoldReleased)


async def test_killed_while_holds_expire(
    inventory: InventoryContext, database: Database, clock: ManualClock, job: Job
) -> None:
    (other,) = await inventory.service.hold_many([HoldRequest(2, (SkuUnits(1, 1),), job.now_ms + 60_000)])
    assert isinstance(other, Hold)
    clock.advance(1000)
    await die(CHILD, "inventory.expired", replace(job, what="expire", now_ms=clock.now_ms()))
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5, "held": 1}
    assert await inventory.expiry.sweep() == 0
    clock.advance(60_000)
    assert await inventory.expiry.sweep() == 1
    assert await balance(inventory, database) == {"received": 5, "on_hand": 5}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id, holds.c.ended_by)).all())
    assert sorted(tuple(row) for row in rows) == [(1, "expired"), (2, "expired")]
