"""A merchant's own stock: receipts, write-offs, transfers and warehouses, each once per key, asserted on rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import sqlalchemy as sa

from contexts.inventory.conftest import MERCHANT, OTHER
from contexts.orders.gate import all_at_once, of_type
from doorbuster.contexts.inventory import model, store
from doorbuster.contexts.inventory.model import Warehouse
from doorbuster.contexts.inventory.service import InventoryService, Moved, Opening
from doorbuster.contexts.inventory.tables import ledger, stock, warehouses
from doorbuster.contracts.catalog import SkuNotFound
from doorbuster.contracts.inventory import (
    HoldRequest,
    OutOfStock,
    SkuUnits,
    StockInvalid,
    TooManyWarehouses,
    WarehouseCodeTaken,
    WarehouseNotFound,
)
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.principal import Principal
from doorbuster.platform.sql.database import Database

SELLER, RIVAL, ADMIN = Principal(MERCHANT, "merchant"), Principal(OTHER, "merchant"), Principal(5, "admin")
FIVE, SIX = [SkuUnits(1, 5)], [SkuUnits(1, 6)]


@pytest.fixture
async def service(open_inventory) -> InventoryService:
    return (await open_inventory("group_commit")).service


async def rows(database: Database, table: sa.Table) -> list[tuple[object, ...]]:
    found = await database.read(lambda tx: tx.execute(sa.select(table).order_by(*table.primary_key.columns)).all())
    return [tuple(row) for row in found]


async def sound(service: InventoryService) -> None:
    assert [check for check in await service.audit() if check.verdict != "holds"] == []


async def test_a_key_moves_units_once_however_many_use_it_at_once(
    service: InventoryService, database: Database
) -> None:
    outcomes = await all_at_once([partial(service.receive, SELLER, "k", FIVE)] * 12)
    assert len(set(of_type(outcomes, Moved))) == 1
    assert await service.available([1]) == {1: 5}
    assert len(await rows(database, ledger)) == 1
    await sound(service)


@pytest.mark.parametrize("do", ["receive", "write_off", "transfer", "open"])
async def test_a_key_is_not_for_another_body_and_not_for_another_owner(
    service: InventoryService, database: Database, do: str
) -> None:
    north = await service.open_warehouse(SELLER, "n", Opening("north", "North", 1))
    south = await service.open_warehouse(SELLER, "s", Opening("south", "South", 2))
    await service.receive(SELLER, "r", [SkuUnits(1, 50)], north.id)
    asked: dict[str, tuple[Callable[[], Awaitable[object]], Callable[[], Awaitable[object]]]] = {
        "receive": (lambda: service.receive(SELLER, "k", FIVE), lambda: service.receive(SELLER, "k", SIX)),
        "write_off": (
            lambda: service.write_off(SELLER, "k", FIVE, north.id),
            lambda: service.write_off(SELLER, "k", SIX, north.id),
        ),
        "transfer": (
            lambda: service.transfer(SELLER, "k", FIVE, north.id, south.id),
            lambda: service.transfer(SELLER, "k", FIVE, south.id, north.id),
        ),
        "open": (
            lambda: service.open_warehouse(SELLER, "k", Opening("west", "West", 1)),
            lambda: service.open_warehouse(SELLER, "k", Opening("east", "East", 1)),
        ),
    }
    same, other = asked[do]
    first = await same()
    before = [await rows(database, table) for table in (ledger, stock, warehouses)]
    assert await same() == first
    with pytest.raises(IdempotencyKeyReused):
        await other()
    assert [await rows(database, table) for table in (ledger, stock, warehouses)] == before
    await service.receive(RIVAL, "k", [SkuUnits(1001, 1)])
    await sound(service)


async def test_one_key_is_not_for_two_kinds_of_movement(service: InventoryService) -> None:
    await service.receive(SELLER, "k", FIVE)
    with pytest.raises(IdempotencyKeyReused):
        await service.write_off(SELLER, "k", FIVE)
    assert await service.available([1]) == {1: 5}


async def test_what_is_promised_is_neither_written_off_nor_moved(service: InventoryService, database: Database) -> None:
    north = await service.open_warehouse(SELLER, "n", Opening("north", "North", 1))
    moved = await service.receive(SELLER, "r", FIVE)
    await service.hold_many([HoldRequest(1, (SkuUnits(1, 2),), 9_000_000_000_000)])
    await service.allot(50, 1, 2)
    entries = len(await rows(database, ledger))
    with pytest.raises(OutOfStock):
        await service.write_off(SELLER, "w", [SkuUnits(1, 2)])
    with pytest.raises(OutOfStock):
        await service.transfer(SELLER, "t", [SkuUnits(1, 2)], moved.warehouse_id, north.id)
    assert len(await rows(database, ledger)) == entries
    await service.write_off(SELLER, "w", [SkuUnits(1, 1)])
    assert await service.available([1]) == {1: 0}
    await sound(service)


async def test_write_offs_and_holds_at_once_never_take_the_same_unit(service: InventoryService) -> None:
    await service.receive(SELLER, "r", [SkuUnits(1, 10)])
    calls = [partial(service.write_off, SELLER, f"w{n}", [SkuUnits(1, 1)]) for n in range(10)]
    calls += [partial(service.hold_many, [HoldRequest(n, (SkuUnits(1, 1),), 9_000_000_000_000)]) for n in range(1, 11)]  # type: ignore[list-item]
    await all_at_once(calls)
    assert await service.available([1]) == {1: 0}
    await sound(service)


async def test_somebody_else_s_goods_and_places_are_not_there(service: InventoryService, database: Database) -> None:
    north = await service.open_warehouse(SELLER, "n", Opening("north", "North", 1))
    before = [await rows(database, table) for table in (ledger, stock, warehouses)]
    for who, lines, place, refusal in (
        (RIVAL, FIVE, None, SkuNotFound),
        (SELLER, [SkuUnits(1001, 1)], None, SkuNotFound),
        (RIVAL, [SkuUnits(1001, 1)], north.id, WarehouseNotFound),
        (ADMIN, [SkuUnits(1001, 1)], north.id, WarehouseNotFound),
        (ADMIN, [SkuUnits(1, 1), SkuUnits(1001, 1)], None, StockInvalid),
        (ADMIN, [SkuUnits(4040, 1)], None, SkuNotFound),
    ):
        with pytest.raises(refusal):
            await service.receive(who, "k", lines, place)
    assert [await rows(database, table) for table in (ledger, stock, warehouses)] == before
    with pytest.raises(SkuNotFound):
        await service.balances(RIVAL, 1)
    with pytest.raises(SkuNotFound):
        await service.movements(RIVAL, 1, None, 10)
    assert (await service.list_warehouses(RIVAL, 0, 10)).items == []
    assert await service.receive(ADMIN, "k", FIVE)


async def test_a_merchant_has_a_bounded_number_of_warehouses(
    service: InventoryService, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WAREHOUSES_MAX", 3)
    assert model.WAREHOUSES_MAX == 100
    calls = [partial(service.open_warehouse, SELLER, f"k{n}", Opening(f"w{n}", "W", 1)) for n in range(8)]
    outcomes = await all_at_once(calls)
    assert len(of_type(outcomes, Warehouse)) == len(await rows(database, warehouses)) == 3
    assert len(of_type(outcomes, TooManyWarehouses)) == 5
    with pytest.raises(WarehouseCodeTaken):
        await service.open_warehouse(SELLER, "again", Opening(of_type(outcomes, Warehouse)[0].code, "W", 1))
    await service.open_warehouse(RIVAL, "k0", Opening("w0", "W", 1))
