"""One behaviour for all five strategies, on both databases."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import sqlalchemy as sa

from contexts.inventory.conftest import OpenInventory
from doorbuster.contexts.inventory.deduction import port
from doorbuster.contexts.inventory.deduction.in_database import Grouped, Optimistic
from doorbuster.contexts.inventory.deduction.port import RACES_MAX, Writer
from doorbuster.contexts.inventory.holding import GuardOf
from doorbuster.contexts.inventory.model import UNITS_MAX, Decision, Shelf
from doorbuster.contexts.inventory.posting import Guard
from doorbuster.contexts.inventory.service import Opening
from doorbuster.contexts.inventory.tables import hold_lines, holds, ledger, stock
from doorbuster.contexts.inventory.wiring import InventoryContext
from doorbuster.contracts.inventory import (
    LINES_MAX,
    Hold,
    HoldReleased,
    HoldRequest,
    OutOfStock,
    SkuUnits,
    StockInvalid,
)
from doorbuster.kernel.clock import Clock, ManualClock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.principal import Principal
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


async def test_a_hold_takes_from_one_warehouse_if_it_can_and_from_several_if_it_must(
    inventory: InventoryContext, database: Database
) -> None:
    seller = Principal(MERCHANT, "merchant")
    north = await inventory.service.open_warehouse(seller, "n", Opening("north", "North", 100))
    await inventory.service.receive(seller, "r", [SkuUnits(1, 3), SkuUnits(2, 2)], north.id)
    await receive(inventory, (1, 2))
    together, spread, short = await inventory.service.hold_many(
        [wants(1, (1, 1), (2, 2)), wants(2, (1, 3)), wants(3, (1, 2))]
    )
    assert isinstance(together, Hold)
    assert {line.warehouse_id for line in together.lines} == {north.id}
    outcomes = [spread, short]
    (held,) = [outcome for outcome in outcomes if isinstance(outcome, Hold)]
    assert isinstance(next(outcome for outcome in outcomes if outcome is not held), OutOfStock)
    assert await inventory.service.available([1, 2]) == {1: 4 - sum(line.quantity for line in held.lines), 2: 0}
    assert await inventory.service.holds([held.order_id]) == [held]
    await audited(inventory)


async def test_a_request_that_is_none_is_refused_and_its_neighbours_are_served(
    inventory: InventoryContext, database: Database
) -> None:
    await receive(inventory, (1, 5))
    wrong = [
        HoldRequest(1, (), UNTIL),
        wants(2, (1, 0)),
        wants(3, (1, -1)),
        wants(4, (1, UNITS_MAX + 1)),
        wants(5, *[(1, 1)] * (LINES_MAX + 1)),
    ]
    outcomes = await inventory.service.hold_many([*wrong, wants(6, (1, 5)), wants(7, (404, 1))])
    assert [type(outcome) for outcome in outcomes] == [StockInvalid] * 5 + [Hold, OutOfStock]
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
    assert list(rows) == [6]
    await audited(inventory)


async def test_who_comes_past_the_deadline_gets_nothing_and_takes_nothing(
    inventory: InventoryContext, database: Database
) -> None:
    await receive(inventory, (1, 5))
    (late,) = await inventory.service.hold_many([wants(1, (1, 5))], Deadline.after(-1))
    assert isinstance(late, Overloaded)
    await stocked(inventory)
    assert await database.read(lambda tx: tx.execute(sa.select(holds)).all()) == []
    (held,) = await inventory.service.hold_many([wants(2, (1, 5))])
    assert isinstance(held, Hold), "what the late one did not take is there for the next"
    await audited(inventory)


# --- what only some of them do ----------------------------------------------------------------------------------------


class Unlucky(Writer):
    """Somebody else always writes between its look and its write; it remembers the versions that it has seen."""

    def __init__(self, database: Database, clock: Clock, races: int) -> None:
        super().__init__(database, clock)
        self.seen, self._races = list[int](), races

    async def write(self, requests: list[HoldRequest], *, lock: bool = True, guard: GuardOf | None = None) -> Decision:
        assert guard is not None

        def too_late(shelf: Shelf) -> Guard:
            self.seen.append(shelf.version)
            return Guard(shelf.version - 1) if len(self.seen) <= self._races else guard(shelf)

        try:
            return await super().write(requests, lock=lock, guard=too_late)
        finally:
            await self.database.write(lambda tx: tx.execute(sa.update(stock).values(version=stock.c.version + 1)))


async def test_optimistic_looks_anew_each_time_and_wins_in_the_end(
    open_inventory: OpenInventory, database: Database, clock: ManualClock
) -> None:
    await receive(await open_inventory("optimistic"), (1, 5))
    writer = Unlucky(database, clock, races=4)
    assert (await Optimistic(writer).hold(wants(1, (1, 5)))).status == "held"
    assert len(writer.seen) == 5
    assert writer.seen == sorted(set(writer.seen)), "a stale version was tried again"


async def test_optimistic_gives_up_when_it_loses_every_race(
    open_inventory: OpenInventory, database: Database, clock: ManualClock
) -> None:
    await receive(await open_inventory("optimistic"), (1, 5))
    writer = Unlucky(database, clock, races=1_000_000)
    with pytest.raises(Overloaded):
        await Optimistic(writer).hold(wants(1, (1, 5)))
    assert len(writer.seen) == RACES_MAX
    assert await database.read(lambda tx: tx.execute(sa.select(holds)).all()) == []


async def test_pauses_between_races_are_jittered_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(port.asyncio, "sleep", sleep)
    for attempt in range(RACES_MAX):
        await port.pause(attempt)
    assert all(0 <= pause_s <= port.PAUSE_MAX_S for pause_s in slept)
    assert len(set(slept)) == RACES_MAX


async def test_a_full_queue_answers_at_once(
    open_inventory: OpenInventory, database: Database, clock: ManualClock
) -> None:
    inventory = await open_inventory("group_commit")
    await receive(inventory, (1, 500))
    grouped = Grouped(Writer(database, clock), batch_max=4, waiting_max=10)
    outcomes = await asyncio.gather(*(grouped.hold(wants(n, (1, 1))) for n in range(1, 101)), return_exceptions=True)
    assert Counter(type(outcome) for outcome in outcomes) == {Hold: 10, Overloaded: 90}
    rows = await database.read(lambda tx: tx.execute(sa.select(holds.c.order_id)).scalars().all())
    assert set(rows) == {outcome.order_id for outcome in outcomes if isinstance(outcome, Hold)}
    await grouped.close()
