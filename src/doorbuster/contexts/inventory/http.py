"""The inventory over HTTP: a merchant's warehouses and stock; anybody may ask what is available."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.inventory.model import UNITS_MAX, Balance, Entry, Warehouse
from doorbuster.contexts.inventory.service import InventoryService, Moved, Opening
from doorbuster.contracts.inventory import LINES_MAX, MovementKind, SkuUnits
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
    public,
)
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

# Without control characters and lone surrogates, which no database takes.
Name = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f\ud800-\udfff]*\Z")]
Code = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}\Z", max_length=32)]


class StockLineBody(Struct, frozen=True, forbid_unknown_fields=True):
    sku_id: IdText
    quantity: Annotated[int, Meta(ge=1, le=UNITS_MAX)]


Lines = Annotated[list[StockLineBody], Meta(min_length=1, max_length=LINES_MAX)]


class WarehouseBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The lowest priority is taken from first."""

    code: Code
    name: Name
    priority: Annotated[int, Meta(ge=0, le=1000)] = 100


class StockBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Without a warehouse: the merchant's default one."""

    lines: Lines
    warehouse_id: IdText | None = None


class StockTransferBody(Struct, frozen=True, forbid_unknown_fields=True):
    lines: Lines
    warehouse_id: IdText
    to_warehouse_id: IdText


class WarehouseView(Struct, frozen=True):
    id: IdText
    code: str
    name: str
    priority: int
    created_at: TimeText

    @classmethod
    def of(cls, place: Warehouse) -> WarehouseView:
        return cls(str(place.id), place.code, place.name, place.priority, rfc3339(place.created_ms))


class WarehousePage(Struct, frozen=True):
    items: list[WarehouseView]
    next_cursor: str | None


class StockLineView(Struct, frozen=True):
    sku_id: IdText
    quantity: int


class MovedView(Struct, frozen=True):
    """What was posted to the ledger."""

    id: IdText
    warehouse_id: IdText
    to_warehouse_id: IdText | None
    lines: list[StockLineView]
    at: TimeText

    @classmethod
    def of(cls, moved: Moved) -> MovedView:
        to = None if moved.to_warehouse_id is None else str(moved.to_warehouse_id)
        lines = [StockLineView(str(line.sku_id), line.quantity) for line in moved.lines]
        return cls(str(moved.id), str(moved.warehouse_id), to, lines, rfc3339(moved.at_ms))


class BalanceView(Struct, frozen=True):
    warehouse_id: IdText
    available: int
    on_hand: int
    held: int
    allotted: int
    received: int
    returned: int
    sold: int
    written_off: int
    transferred_in: int
    transferred_out: int

    @classmethod
    def of(cls, balance: Balance) -> BalanceView:
        numbers = {
            name: getattr(balance, name) for name in cls.__struct_fields__ if name not in ("warehouse_id", "available")
        }
        return cls(warehouse_id=str(balance.warehouse_id), available=balance.available, **numbers)


class StockView(Struct, frozen=True):
    sku_id: IdText
    warehouses: list[BalanceView]


class MovementView(Struct, frozen=True):
    id: IdText
    warehouse_id: IdText
    kind: MovementKind
    quantity: int
    cause: str
    cause_id: IdText
    at: TimeText

    @classmethod
    def of(cls, entry: Entry) -> MovementView:
        return cls(
            str(entry.id),
            str(entry.warehouse_id),
            entry.kind,
            entry.quantity,
            entry.cause_kind,
            str(entry.cause_id),
            rfc3339(entry.at_ms),
        )


class MovementPage(Struct, frozen=True):
    items: list[MovementView]
    next_cursor: str | None


class AvailabilityView(Struct, frozen=True):
    sku_id: IdText
    available: int


def _units(lines: list[StockLineBody]) -> list[SkuUnits]:
    return [SkuUnits(parse_id(line.sku_id), line.quantity) for line in lines]


def routes(service: InventoryService) -> list[ControllerRouterHandler]:
    return [*_warehouses(service), *_moving(service), *_showing(service)]


def _warehouses(service: InventoryService) -> list[ControllerRouterHandler]:
    @post(
        "/v1/warehouses",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["stock"],
        summary="Open a warehouse",
    )
    async def open_warehouse(request: AnyRequest, data: JSONBody[WarehouseBody]) -> WarehouseView:
        opening = Opening(data.code, data.name, data.priority)
        place = await service.open_warehouse(principal_of(request), idempotency_key_of(request), opening)
        return WarehouseView.of(place)

    @get("/v1/warehouses", guards=[allow("merchant", "admin")], tags=["stock"], summary="One's own warehouses")
    async def list_warehouses(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> WarehousePage:
        after = decode_cursor(cursor) if cursor is not None else 0
        page = await service.list_warehouses(principal_of(request), after, checked_limit(limit))
        items = [WarehouseView.of(place) for place in page.items]
        return WarehousePage(items, None if page.next_after is None else encode_cursor(page.next_after))

    return [open_warehouse, list_warehouses]


def _moving(service: InventoryService) -> list[ControllerRouterHandler]:
    @post(
        "/v1/stock/receipts",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["stock"],
        summary="Receive goods",
    )
    async def receive_stock(request: AnyRequest, data: JSONBody[StockBody]) -> MovedView:
        place = None if data.warehouse_id is None else parse_id(data.warehouse_id)
        key = idempotency_key_of(request)
        return MovedView.of(await service.receive(principal_of(request), key, _units(data.lines), place))

    @post(
        "/v1/stock/write-offs",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["stock"],
        summary="Write goods off",
    )
    async def write_off_stock(request: AnyRequest, data: JSONBody[StockBody]) -> MovedView:
        place = None if data.warehouse_id is None else parse_id(data.warehouse_id)
        key = idempotency_key_of(request)
        return MovedView.of(await service.write_off(principal_of(request), key, _units(data.lines), place))

    @post(
        "/v1/stock/transfers",
        status_code=201,
        guards=[allow("merchant", "admin")],
        tags=["stock"],
        summary="Move goods to another warehouse",
    )
    async def transfer_stock(request: AnyRequest, data: JSONBody[StockTransferBody]) -> MovedView:
        moved = await service.transfer(
            principal_of(request),
            idempotency_key_of(request),
            _units(data.lines),
            parse_id(data.warehouse_id),
            parse_id(data.to_warehouse_id),
        )
        return MovedView.of(moved)

    return [receive_stock, write_off_stock, transfer_stock]


def _showing(service: InventoryService) -> list[ControllerRouterHandler]:
    @get("/v1/stock", guards=[allow("merchant", "admin")], tags=["stock"], summary="Stock of a SKU by warehouse")
    async def show_stock(request: AnyRequest, sku_id: FromQuery[str]) -> StockView:
        balances = await service.balances(principal_of(request), parse_id(sku_id))
        return StockView(sku_id, [BalanceView.of(balance) for balance in balances])

    @get(
        "/v1/stock/movements",
        guards=[allow("merchant", "admin")],
        tags=["stock"],
        summary="Movements of a SKU, newest first",
    )
    async def list_movements(
        request: AnyRequest,
        sku_id: FromQuery[str],
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
    ) -> MovementPage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.movements(principal_of(request), parse_id(sku_id), before, checked_limit(limit))
        items = [MovementView.of(entry) for entry in page.items]
        return MovementPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get("/v1/skus/{sku_id:str}/availability", guards=[public], tags=["stock"], summary="Units that may be bought now")
    async def get_availability(sku_id: FromPath[str]) -> AvailabilityView:
        return AvailabilityView(sku_id, await service.availability(parse_id(sku_id)))

    return [show_stock, list_movements, get_availability]
