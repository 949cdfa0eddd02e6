"""Inventory: what lies where, what is promised of it, and every movement that led there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from doorbuster.kernel.events import Event

LINES_MAX = 50
"""Lines of a hold."""
MovementKind = Literal[
    "receive", "hold", "release", "sell", "return", "write_off", "transfer_out", "transfer_in", "allot", "unallot"
]
HoldStatus = Literal["held", "sold", "released"]
Strategy = Literal["pessimistic", "optimistic", "redis_lua", "redis_lock", "group_commit"]


class WarehouseNotFound(NotFound):
    slug = "warehouse-not-found"
    title = "There is no such warehouse"


class WarehouseCodeTaken(Conflict):
    slug = "warehouse-code-taken"
    title = "This merchant has a warehouse with this code"


class TooManyWarehouses(Conflict):
    slug = "too-many-warehouses"
    title = "This merchant has as many warehouses as one may have"


class OutOfStock(Conflict):
    """`sku_ids` tells of which there is not enough."""

    slug = "out-of-stock"
    title = "There is not enough of this in stock"


class HoldNotFound(NotFound):
    slug = "hold-not-found"
    title = "Nothing is held for this order"


class HoldReleased(Conflict):
    """The hold of this order was released, or will never be: it cannot be held again under the same id."""

    slug = "hold-released"
    title = "What was held for this order has been released"


class StockInvalid(Invalid):
    slug = "stock-invalid"
    title = "Stock cannot be moved like this"


class NotYourStock(Forbidden):
    slug = "not-your-stock"
    title = "This stock belongs to another merchant"


class SkuUnits(Struct, frozen=True):
    sku_id: int
    quantity: int


class HoldRequest(Struct, frozen=True):
    """Units wanted for an order until `until_ms`: all lines or nothing. A SKU on two lines counts as their sum."""

    order_id: int
    lines: tuple[SkuUnits, ...]
    until_ms: int


class HeldLine(Struct, frozen=True):
    warehouse_id: int
    sku_id: int
    quantity: int


class Hold(Struct, frozen=True):
    """What is set aside for an order, and where it lies."""

    order_id: int
    status: HoldStatus
    until_ms: int
    lines: tuple[HeldLine, ...]


class HoldLost(Event, frozen=True, tag="inventory.hold-lost"):
    """An order was paid after its hold had run out, and its units are no more to be had: it must be refunded."""

    order_id: int
    sku_ids: tuple[int, ...]

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class Allots(Protocol):
    """What a flash sale asks of the warehouse."""

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        """Sets `units` aside for a flash sale: once per sale, all or nothing. Raises OutOfStock, StockInvalid (another
        SKU or number for the same sale), Unavailable, OutcomeUnknown (ask again)."""
        ...


class Inventory(Allots, Protocol):
    async def hold_many(
        self, requests: Sequence[HoldRequest], deadline: Deadline | None = None
    ) -> Sequence[Hold | Exception]:
        """An outcome per request: the hold (durable), or why not: OutOfStock, HoldReleased, Overloaded, Unavailable,
        OutcomeUnknown. Idempotent by order: the same order gets its hold again, whatever it asks for then."""
        ...

    async def release_many(self, order_ids: Sequence[int]) -> None:
        """Lets go of what is held for these orders, and of what might still be asked for: a hold that comes later is
        HoldReleased. Sold units stay sold. Idempotent."""
        ...

    async def extend_many(self, order_ids: Sequence[int], until_ms: int) -> Mapping[int, bool]:
        """Holds last until `until_ms` at least (payments are under way). False: there is nothing held to extend."""
        ...

    async def holds(self, order_ids: Sequence[int]) -> Sequence[Hold]:
        """Those that exist, in order of id. At most 1000 ids."""
        ...

    async def available(self, sku_ids: Sequence[int]) -> Mapping[int, int]:
        """Units that may be held now, over all warehouses; 0 for what nobody has heard of. At most 1000 ids."""
        ...
