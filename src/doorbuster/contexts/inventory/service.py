"""Use cases of the inventory: hold and let go, receive, write off, transfer, allot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from msgspec import Struct

from doorbuster.contexts.inventory import books, settling, store
from doorbuster.contexts.inventory.deduction.port import Deduction
from doorbuster.contexts.inventory.holding import find_holds
from doorbuster.contexts.inventory.model import UNITS_MAX, Balance, CauseKind, Entry, Movement, Warehouse, wanted
from doorbuster.contexts.inventory.posting import post, shelves
from doorbuster.contracts.audit import FACTS_PAGE, AllotmentFact, Check, HoldFact
from doorbuster.contracts.catalog import Catalog, SkuNotFound
from doorbuster.contracts.inventory import Hold, HoldRequest, MovementKind, OutOfStock, SkuUnits, StockInvalid
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Platform
from doorbuster.platform.pools import outcomes_of
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "inventory"
RECEIVE_PAGE = 500


class Moved(Struct, frozen=True):
    """A receipt, write-off or transfer that was posted."""

    id: int
    warehouse_id: int
    to_warehouse_id: int | None
    lines: tuple[SkuUnits, ...]
    at_ms: int


class Order(Struct, frozen=True):
    """What somebody asks to be moved: the fingerprint of its idempotency key."""

    kind: str
    warehouse_id: int | None
    to_warehouse_id: int | None
    lines: tuple[SkuUnits, ...]


class Opening(Struct, frozen=True):
    code: str
    name: str
    priority: int


class InventoryService:
    def __init__(self, platform: Platform, database: Database, catalog: Catalog, deduction: Deduction) -> None:
        self._platform, self._database, self._catalog = platform, database, catalog
        self._deduction = deduction
        batch_max, waiting_max = platform.settings.inventory.batch_max, platform.settings.inventory.waiting_max
        self._extending: GroupCommit[tuple[int, int], bool] = GroupCommit(
            self._extend, max_batch=batch_max, max_waiting=waiting_max
        )

    # --- holds: see contracts.inventory.Inventory -------------------------------------------------------------------

    async def hold_many(
        self, requests: Sequence[HoldRequest], deadline: Deadline | None = None
    ) -> Sequence[Hold | Exception]:
        batch_max = self._platform.settings.inventory.batch_max
        return await outcomes_of(batch_max, requests, lambda request: self._deduction.hold(request, deadline))

    async def release_many(self, order_ids: Sequence[int]) -> None:
        now_ms = self._platform.clock.now_ms()
        if not order_ids:
            return
        # Apart: who writes new rows must hold no other locks.
        absent = dict.fromkeys(order_ids, 0)
        await self._database.write(lambda tx: settling.put_tombstones(tx, absent, "released", now_ms))
        await self._database.write(lambda tx: settling.release(tx, order_ids, "released", now_ms))
        crash_point("inventory.released")

    async def extend_many(self, order_ids: Sequence[int], until_ms: int) -> Mapping[int, bool]:
        held = await asyncio.gather(*(self._extending.submit((order_id, until_ms)) for order_id in order_ids))
        return dict(zip(order_ids, held, strict=True))

    async def _extend(self, wanted: Sequence[tuple[int, int]]) -> Sequence[bool]:
        """Orders that are paid at the same time share a transaction."""
        until_ms: dict[int, int] = {}
        for order_id, until in wanted:
            until_ms[order_id] = max(until, until_ms.get(order_id, 0))
        held = await self._database.write(lambda tx: store.extend(tx, until_ms))
        return [order_id in held for order_id, _ in wanted]

    async def holds(self, order_ids: Sequence[int]) -> Sequence[Hold]:
        return list((await self._database.read(lambda tx: find_holds(tx, order_ids))).values())

    async def available(self, sku_ids: Sequence[int]) -> Mapping[int, int]:
        return await self._database.read(lambda tx: store.available(tx, sku_ids))

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        if not 1 <= units <= UNITS_MAX:
            raise StockInvalid(f"units are a number from 1 to {UNITS_MAX}")
        now_ms = self._platform.clock.now_ms()
        await self._database.write(lambda tx: store.allot(tx, sale_id, sku_id, units, now_ms))
        crash_point("inventory.allotted")

    # --- the merchant's own -----------------------------------------------------------------------------------------

    async def open_warehouse(self, principal: Principal, key: str, opening: Opening) -> Warehouse:
        """Raises WarehouseCodeTaken, TooManyWarehouses, IdempotencyKeyReused."""
        now_ms, merchant_id = self._platform.clock.now_ms(), principal.account_id

        def open_one(tx: Tx) -> Warehouse:
            made = Warehouse(
                self._platform.ids.next(), merchant_id, opening.code, opening.name, opening.priority, now_ms
            )
            return store.insert_warehouse(tx, made)

        scope = f"warehouse:{merchant_id}"
        return await self._database.write(
            lambda tx: once(tx, scope, key, opening, Warehouse, now_ms, lambda: open_one(tx))
        )

    async def list_warehouses(self, principal: Principal, after: int, limit: int) -> Page[Warehouse]:
        found = await self._database.read(lambda tx: store.list_warehouses(tx, principal.account_id, after, limit + 1))
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def receive(
        self, principal: Principal, key: str, lines: Sequence[SkuUnits], warehouse_id: int | None = None
    ) -> Moved:
        """Raises SkuNotFound, WarehouseNotFound, StockInvalid, IdempotencyKeyReused."""
        return await self._move(principal, key, Order("receive", warehouse_id, None, tuple(lines)))

    async def write_off(
        self, principal: Principal, key: str, lines: Sequence[SkuUnits], warehouse_id: int | None = None
    ) -> Moved:
        """Only what is not promised. Raises OutOfStock and what `receive` raises."""
        return await self._move(principal, key, Order("write_off", warehouse_id, None, tuple(lines)))

    async def transfer(
        self, principal: Principal, key: str, lines: Sequence[SkuUnits], warehouse_id: int, to_warehouse_id: int
    ) -> Moved:
        """Only what is not promised. Raises OutOfStock and what `receive` raises."""
        if warehouse_id == to_warehouse_id:
            raise StockInvalid("a transfer goes to another warehouse")
        return await self._move(principal, key, Order("transfer", warehouse_id, to_warehouse_id, tuple(lines)))

    async def _move(self, principal: Principal, key: str, order: Order) -> Moved:
        units = wanted(order.lines)
        merchants = {await self._merchant_of(principal, sku_id) for sku_id in units}
        if len(merchants) != 1:
            raise StockInvalid("these SKUs are of several merchants")
        (merchant_id,) = merchants
        now_ms = self._platform.clock.now_ms()

        def work(tx: Tx) -> Moved:
            new_id = self._platform.ids.next()
            if order.warehouse_id is None:
                place = store.default_warehouse(tx, merchant_id, new_id, now_ms)
            else:
                place = store.warehouse_of(tx, order.warehouse_id, merchant_id)
            to = None if order.to_warehouse_id is None else store.warehouse_of(tx, order.to_warehouse_id, merchant_id)
            moved = Moved(self._platform.ids.next(), place.id, to.id if to else None, order.lines, now_ms)
            self._post(tx, order.kind, moved, units, place, to)
            return moved

        scope = f"stock:{principal.account_id}"
        return await self._database.write(lambda tx: once(tx, scope, key, order, Moved, now_ms, lambda: work(tx)))

    def _post(
        self, tx: Tx, kind: str, moved: Moved, units: Mapping[int, int], place: Warehouse, to: Warehouse | None
    ) -> None:
        for at in (place, to):
            if at is not None:
                store.make_shelves(tx, at, list(units))
        left = {shelf.sku_id: shelf.available for shelf in shelves(tx, sorted(units)) if shelf.warehouse_id == place.id}
        short = [str(sku_id) for sku_id, quantity in units.items() if left[sku_id] < quantity]
        if kind != "receive" and short:
            raise OutOfStock(sku_ids=short)
        kinds: dict[str, tuple[CauseKind, list[tuple[Warehouse, MovementKind]]]] = {
            "receive": ("receipt", [(place, "receive")]),
            "write_off": ("write_off", [(place, "write_off")]),
            "transfer": ("transfer", [(place, "transfer_out"), (to or place, "transfer_in")]),
        }
        cause, steps = kinds[kind]
        post(
            tx,
            [
                Movement(sku_id, where.id, what, quantity, cause, moved.id)
                for sku_id, quantity in units.items()
                for where, what in steps
            ],
            moved.at_ms,
        )

    async def receive_many(self, merchant_id: int, key: str, lines: Sequence[SkuUnits]) -> int:
        """For operators: any number of SKUs of one merchant into the default warehouse, in batches, each once per
        `key`. The caller knows that the SKUs are the merchant's. Returns how many SKUs."""
        now_ms, done = self._platform.clock.now_ms(), 0
        for at in range(0, len(lines), RECEIVE_PAGE):
            page = tuple(lines[at : at + RECEIVE_PAGE])
            units: dict[int, int] = {}
            for line in page:
                units[line.sku_id] = units.get(line.sku_id, 0) + line.quantity
            order = Order("receive", None, None, page)

            def work(tx: Tx, units: Mapping[int, int] = units, page: tuple[SkuUnits, ...] = page) -> Moved:
                place = store.default_warehouse(tx, merchant_id, self._platform.ids.next(), now_ms)
                moved = Moved(self._platform.ids.next(), place.id, None, page, now_ms)
                self._post(tx, "receive", moved, units, place, None)
                return moved

            def batch(tx: Tx, at: int = at, order: Order = order, work: Callable[[Tx], Moved] = work) -> Moved:
                scope = f"stock-import:{merchant_id}"
                return once(tx, scope, f"{key}:{at}", order, Moved, now_ms, lambda: work(tx))

            await self._database.write(batch)
            done += len(units)
        return done

    async def balances(self, principal: Principal, sku_id: int) -> Sequence[Balance]:
        """Raises SkuNotFound."""
        merchant_id = await self._merchant_of(principal, sku_id)
        return await self._database.read(lambda tx: store.balances(tx, sku_id, merchant_id))

    async def movements(self, principal: Principal, sku_id: int, before: int | None, limit: int) -> Page[Entry]:
        """Newest first. Raises SkuNotFound."""
        await self._merchant_of(principal, sku_id)
        found = await self._database.read(lambda tx: store.entries(tx, sku_id, before or ID_MAX, limit + 1))
        return Page(found[:limit], found[limit - 1].id if len(found) > limit else None)

    async def availability(self, sku_id: int) -> int:
        """Raises SkuNotFound."""
        await self._catalog.sku(sku_id)
        return (await self.available([sku_id]))[sku_id]

    async def _merchant_of(self, principal: Principal, sku_id: int) -> int:
        """Raises SkuNotFound, also for somebody else's."""
        merchant_id = (await self._catalog.sku(sku_id)).merchant_id
        if principal.role != "admin" and principal.account_id != merchant_id:
            raise SkuNotFound
        return merchant_id

    # --- books: see contracts.audit.AuditsInventory -----------------------------------------------------------------

    async def audit(self) -> Sequence[Check]:
        now_ms = self._platform.clock.now_ms()
        return await self._database.read(lambda tx: books.checks(tx, now_ms))

    async def hold_facts(self, after: int = 0) -> AsyncIterator[Sequence[HoldFact]]:
        while page := await self._database.read(lambda tx, after=after: store.hold_facts_after(tx, after, FACTS_PAGE)):
            yield page
            after = page[-1].order_id

    async def hold_facts_of(self, order_ids: Sequence[int]) -> Sequence[HoldFact]:
        return await self._database.read(lambda tx: store.hold_facts_of(tx, order_ids))

    async def allotment_facts_of(self, sale_ids: Sequence[int]) -> Sequence[AllotmentFact]:
        return await self._database.read(lambda tx: store.allotment_facts_of(tx, sale_ids))

    async def close(self) -> None:
        await self._extending.close()
        await self._deduction.close()
