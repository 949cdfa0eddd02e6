"""Decisions about stock: pure, without I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from doorbuster.contracts.inventory import (
    LINES_MAX,
    HeldLine,
    Hold,
    HoldReleased,
    HoldRequest,
    MovementKind,
    OutOfStock,
    SkuUnits,
    StockInvalid,
)
from doorbuster.kernel.errors import ShopError

UNITS_MAX = 1_000_000_000
"""Of one movement."""
WAREHOUSES_MAX = 100
"""Of one merchant: a hold locks the shelves of a SKU in all of them."""
DEFAULT_CODE, DEFAULT_NAME = "main", "Main warehouse"
CauseKind = Literal["order", "sale", "receipt", "write_off", "transfer"]
EndedBy = Literal["", "expired", "released", "cancelled", "lost", "missing"]
Key = tuple[int, int]
"""(SKU, warehouse): the order in which stock is locked."""
COLUMNS = (
    "received",
    "returned",
    "on_hand",
    "held",
    "allotted",
    "sold",
    "written_off",
    "transferred_in",
    "transferred_out",
)
Delta = tuple[int, int, int, int, int, int, int, int, int]
EFFECTS: Mapping[tuple[MovementKind, bool], Delta] = {
    # (kind, of an allotment): received returned on_hand held allotted sold written_off in out
    ("receive", False): (1, 0, 1, 0, 0, 0, 0, 0, 0),
    ("hold", False): (0, 0, 0, 1, 0, 0, 0, 0, 0),
    ("release", False): (0, 0, 0, -1, 0, 0, 0, 0, 0),
    ("sell", False): (0, 0, -1, -1, 0, 1, 0, 0, 0),
    ("sell", True): (0, 0, -1, 0, -1, 1, 0, 0, 0),
    ("return", False): (0, 1, 1, 0, 0, 0, 0, 0, 0),
    ("return", True): (0, 1, 1, 0, 1, 0, 0, 0, 0),
    ("write_off", False): (0, 0, -1, 0, 0, 0, 1, 0, 0),
    ("transfer_out", False): (0, 0, -1, 0, 0, 0, 0, 0, 1),
    ("transfer_in", False): (0, 0, 1, 0, 0, 0, 0, 1, 0),
    ("allot", True): (0, 0, 0, 0, 1, 0, 0, 0, 0),
    ("unallot", True): (0, 0, 0, 0, -1, 0, 0, 0, 0),
}
"""What a unit of each movement does to the balances. Every one keeps
received + returned + transferred_in - transferred_out = on_hand + sold + written_off."""


class Warehouse(Struct, frozen=True):
    """A place of a merchant's. The lowest `priority` is taken from first."""

    id: int
    merchant_id: int
    code: str
    name: str
    priority: int
    created_ms: int


class Balance(Struct, frozen=True):
    """Of one SKU in one warehouse."""

    warehouse_id: int
    sku_id: int
    received: int
    returned: int
    on_hand: int
    held: int
    allotted: int
    sold: int
    written_off: int
    transferred_in: int
    transferred_out: int

    @property
    def available(self) -> int:
        return self.on_hand - self.held - self.allotted


class Entry(Struct, frozen=True):
    """A movement as the ledger has it."""

    id: int
    sku_id: int
    warehouse_id: int
    kind: MovementKind
    quantity: int
    cause_kind: str
    cause_id: int
    at_ms: int


class Shelf(NamedTuple):
    """What of a SKU may be taken in a warehouse. `version` and `fence` guard the write."""

    sku_id: int
    warehouse_id: int
    priority: int
    available: int
    version: int
    fence: int


class Movement(NamedTuple):
    """`cause_n` counts what one cause does repeatedly; `sale_id` (else 0) says out of or into whose allotment."""

    sku_id: int
    warehouse_id: int
    kind: MovementKind
    quantity: int
    cause_kind: CauseKind
    cause_id: int
    cause_n: int = 0
    sale_id: int = 0

    @property
    def key(self) -> Key:
        return (self.sku_id, self.warehouse_id)


class Decision(Struct, frozen=True):
    """An outcome per request, and the holds among them that are to be written."""

    outcomes: Sequence[Hold | ShopError]
    fresh: Sequence[Hold]


def deltas(movements: Iterable[Movement]) -> dict[Key, list[int]]:
    """What movements come to, per balance, in the order of COLUMNS."""
    sums: dict[Key, list[int]] = {}
    for movement in movements:
        row = sums.setdefault(movement.key, [0] * len(COLUMNS))
        for at, sign in enumerate(EFFECTS[movement.kind, movement.sale_id != 0]):
            if sign:
                row[at] += sign * movement.quantity
    return sums


def wanted(lines: Iterable[SkuUnits]) -> dict[int, int]:
    """Units per SKU: a SKU on two lines counts as their sum. Raises StockInvalid."""
    sums: defaultdict[int, int] = defaultdict(int)
    count = 0
    for line in lines:
        count += 1
        if not 1 <= line.quantity <= UNITS_MAX:
            raise StockInvalid(f"a quantity is a number from 1 to {UNITS_MAX}")
        sums[line.sku_id] += line.quantity
    if not 1 <= count <= LINES_MAX:
        raise StockInvalid(f"there are 1 to {LINES_MAX} lines")
    return dict(sums)


class Stock:
    """The shelves of a batch, as they are taken from."""

    def __init__(self, shelves: Iterable[Shelf]) -> None:
        self._of_sku: dict[int, list[Shelf]] = {}
        self._left: dict[Key, int] = {}
        for shelf in shelves:
            self._of_sku.setdefault(shelf.sku_id, []).append(shelf)
            self._left[shelf.sku_id, shelf.warehouse_id] = shelf.available
        for of_sku in self._of_sku.values():
            of_sku.sort(key=lambda shelf: (shelf.priority, shelf.warehouse_id))

    def take(self, units: Mapping[int, int]) -> list[HeldLine]:
        """From as few warehouses as may be, then by priority: all or nothing. Raises OutOfStock."""
        short = [sku_id for sku_id, quantity in units.items() if self._available(sku_id) < quantity]
        if short:
            raise OutOfStock(sku_ids=[str(sku_id) for sku_id in sorted(short)])
        together = self._warehouse_with_all(units) if len(units) > 1 else None
        lines: list[HeldLine] = []
        for sku_id in sorted(units):
            lines += self._from_one_sku(sku_id, units[sku_id], together)
        for line in lines:
            self._left[line.sku_id, line.warehouse_id] -= line.quantity
        # As they are read from the rows: whoever asks again gets the same answer.
        return sorted(lines, key=lambda line: (line.sku_id, line.warehouse_id))

    def _available(self, sku_id: int) -> int:
        return sum(self._left[sku_id, shelf.warehouse_id] for shelf in self._of_sku.get(sku_id, ()))

    def _warehouse_with_all(self, units: Mapping[int, int]) -> int | None:
        first = next(iter(units))
        for shelf in self._of_sku[first]:
            if all(self._left.get((sku_id, shelf.warehouse_id), 0) >= units[sku_id] for sku_id in units):
                return shelf.warehouse_id
        return None

    def _from_one_sku(self, sku_id: int, quantity: int, together: int | None) -> list[HeldLine]:
        if together is not None:
            return [HeldLine(together, sku_id, quantity)]
        shelves = self._of_sku[sku_id]
        for shelf in shelves:
            if self._left[sku_id, shelf.warehouse_id] >= quantity:
                return [HeldLine(shelf.warehouse_id, sku_id, quantity)]
        lines: list[HeldLine] = []
        for shelf in sorted(shelves, key=lambda shelf: -self._left[sku_id, shelf.warehouse_id]):
            part = min(quantity, self._left[sku_id, shelf.warehouse_id])
            if part > 0:
                lines.append(HeldLine(shelf.warehouse_id, sku_id, part))
                quantity -= part
        return lines


def decide(requests: Sequence[HoldRequest], shelves: Iterable[Shelf], existing: Mapping[int, Hold]) -> Decision:
    """First come, first served. An order that has a hold gets it again, whatever it asks for now."""
    stock, known = Stock(shelves), dict(existing)
    outcomes: list[Hold | ShopError] = []
    fresh: list[Hold] = []
    for request in requests:
        hold = known.get(request.order_id)
        if hold is None:
            try:
                lines = stock.take(wanted(request.lines))
            except (OutOfStock, StockInvalid) as refusal:
                outcomes.append(refusal)
                continue
            hold = Hold(request.order_id, "held", request.until_ms, tuple(lines))
            known[request.order_id] = hold
            fresh.append(hold)
        outcomes.append(HoldReleased() if hold.status == "released" else hold)
    return Decision(outcomes, fresh)


def moved(kind: MovementKind, order_id: int, lines: Iterable[HeldLine], turn: int, sale_id: int = 0) -> list[Movement]:
    return [
        Movement(line.sku_id, line.warehouse_id, kind, line.quantity, "order", order_id, turn, sale_id)
        for line in lines
    ]
