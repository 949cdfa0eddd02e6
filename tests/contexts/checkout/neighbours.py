"""Neighbours that keep their contracts, in files: what they were told survives the process that told it."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from doorbuster.contracts.catalog import SkuFacts, SkuNotFound
from doorbuster.contracts.inventory import HeldLine, Hold, HoldReleased, HoldRequest, OutOfStock
from doorbuster.contracts.orders import CancelCause, Order, OrderDraft
from doorbuster.kernel.errors import Busy
from doorbuster.kernel.money import Money

MERCHANT, RIVAL = 77, 78
TEA, POT, RARE, GONE, DOLLARS, THEIRS = 9, 10, 11, 12, 13, 14
SKUS = {
    sku_id: SkuFacts(sku_id, sku_id, merchant, f"SKU-{sku_id}", f"Tea {sku_id} / 茶", Money(price, currency), active)
    for sku_id, merchant, price, currency, active in (
        (TEA, MERCHANT, 1990, "CNY", True),
        (POT, MERCHANT, 10_000, "CNY", True),
        (RARE, MERCHANT, 99, "CNY", True),
        (GONE, MERCHANT, 5, "CNY", False),
        (DOLLARS, MERCHANT, 700, "USD", True),
        (THEIRS, RIVAL, 100, "CNY", True),
    )
}


class Shelf:
    """The catalogue: `skus` is what it says now."""

    def __init__(self) -> None:
        self.facts = dict(SKUS)

    def reprice(self, sku_id: int, amount: int) -> None:
        self.facts[sku_id] = replace(self.facts[sku_id], price=Money(amount, self.facts[sku_id].price.currency))

    async def sku(self, sku_id: int) -> SkuFacts:
        if sku_id not in self.facts:
            raise SkuNotFound
        return self.facts[sku_id]

    async def skus(self, sku_ids: Sequence[int]) -> Mapping[int, SkuFacts]:
        return {sku_id: self.facts[sku_id] for sku_id in sku_ids if sku_id in self.facts}


class Ledger:
    """A file of documents by kind and id. `busy` makes the next calls fail, `before` runs before each of them."""

    def __init__(self, path: Path) -> None:
        self._file = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._file.execute("PRAGMA journal_mode=WAL")
        self._file.execute("CREATE TABLE IF NOT EXISTS told (kind TEXT, id INTEGER, told BLOB, PRIMARY KEY (kind, id))")
        self.busy: list[Exception] = []
        self.before: Callable[[], Awaitable[None]] | None = None
        self.calls: list[str] = []

    def get(self, kind: str, of_id: int, type_: Any) -> Any:
        row = self._file.execute("SELECT told FROM told WHERE kind = ? AND id = ?", (kind, of_id)).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=type_)

    def put(self, kind: str, of_id: int, told: Any) -> None:
        self._file.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (kind, of_id, msgspec.json.encode(told)))

    def all(self, kind: str, type_: Any) -> dict[int, Any]:
        rows = self._file.execute("SELECT id, told FROM told WHERE kind = ? ORDER BY id", (kind,))
        return {row[0]: msgspec.json.decode(row[1], type=type_) for row in rows}

    async def asked(self, call: str) -> None:
        self.calls.append(call)
        if self.before is not None:
            await self.before()
        if self.busy:
            raise self.busy.pop(0)

    def close(self) -> None:
        self._file.close()


class Warehouse:
    """Inventory: one balance per SKU, holds by order, releases that are for ever."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path)

    def stock(self, sku_id: int, units: int) -> None:
        self.ledger.put("stock", sku_id, units)

    def left(self, sku_id: int) -> int:
        return self.ledger.get("stock", sku_id, int) or 0

    @property
    def all_holds(self) -> dict[int, Hold]:
        return self.ledger.all("hold", Hold)

    def _hold(self, request: HoldRequest) -> Hold | Exception:
        there: Hold | None = self.ledger.get("hold", request.order_id, Hold)
        if there is not None:
            return HoldReleased() if there.status == "released" else there
        wanted: dict[int, int] = {}
        for line in request.lines:
            wanted[line.sku_id] = wanted.get(line.sku_id, 0) + line.quantity
        short = [sku_id for sku_id, units in wanted.items() if units > self.left(sku_id)]
        if short:
            return OutOfStock(sku_ids=[str(sku_id) for sku_id in short])
        for sku_id, units in wanted.items():
            self.stock(sku_id, self.left(sku_id) - units)
        lines = tuple(HeldLine(1, sku_id, units) for sku_id, units in wanted.items())
        hold = Hold(request.order_id, "held", request.until_ms, lines)
        self.ledger.put("hold", request.order_id, hold)
        return hold

    async def hold_many(self, requests: Sequence[HoldRequest], deadline: object = None) -> Sequence[Hold | Exception]:
        try:
            await self.ledger.asked("hold")
        except Busy as busy:
            return [busy] * len(requests)
        return [self._hold(request) for request in requests]

    async def release_many(self, order_ids: Sequence[int]) -> None:
        await self.ledger.asked("release")
        for order_id in order_ids:
            there: Hold | None = self.ledger.get("hold", order_id, Hold)
            if there is None:
                self.ledger.put("hold", order_id, Hold(order_id, "released", 0, ()))
            elif there.status == "held":
                for line in there.lines:
                    self.stock(line.sku_id, self.left(line.sku_id) + line.quantity)
                self.ledger.put("hold", order_id, replace(there, status="released"))

    async def available(self, sku_ids: Sequence[int]) -> Mapping[int, int]:
        return {sku_id: self.left(sku_id) for sku_id in sku_ids}

    async def holds(self, order_ids: Sequence[int]) -> Sequence[Hold]:
        return [hold for order_id, hold in self.all_holds.items() if order_id in order_ids]

    async def extend_many(self, order_ids: Sequence[int], until_ms: int) -> Mapping[int, bool]:
        raise AssertionError("checkout never extends")

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        raise AssertionError("checkout never allots")


class OrderBook:
    """Orders: written once by id, cancelled only while unpaid."""

    def __init__(self, path: Path) -> None:
        self.ledger = Ledger(path)

    @property
    def all(self) -> dict[int, Order]:
        return self.ledger.all("order", Order)

    def settle(self, order_id: int, status: str) -> None:
        self.ledger.put("order", order_id, replace(self.all[order_id], status=status))

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        try:
            await self.ledger.asked("place")
        except Busy as busy:
            return [busy] * len(drafts)
        return [self._place(draft) for draft in drafts]

    def _place(self, draft: OrderDraft) -> Order:
        there: Order | None = self.ledger.get("order", draft.id, Order)
        if there is None:
            there = order_of(draft)
            self.ledger.put("order", draft.id, there)
        return there

    async def cancel_unpaid(self, order_id: int, cause: CancelCause) -> Order | None:
        await self.ledger.asked("cancel")
        there: Order | None = self.ledger.get("order", order_id, Order)
        if there is not None and there.status == "pending_payment":
            self.settle(order_id, "cancelled")
        return self.ledger.get("order", order_id, Order)

    async def find_many(self, order_ids: Sequence[int]) -> Sequence[Order]:
        await self.ledger.asked("find")
        return [order for order_id, order in self.all.items() if order_id in order_ids]

    async def send_off(self, order_id: int, actor: str, cause: str) -> Order:
        raise AssertionError("checkout sends nothing off")

    async def complete(self, order_id: int, actor: str, cause: str) -> Order:
        raise AssertionError("checkout completes nothing")


def order_of(draft: OrderDraft) -> Order:
    goods = sum(line.unit_price.amount * line.quantity for line in draft.lines)
    total = goods + draft.shipping.amount - draft.discount.amount
    return Order(
        id=draft.id,
        customer_id=draft.customer_id,
        merchant_id=draft.merchant_id,
        sale_id=None,
        fulfilment=draft.fulfilment,
        status="pending_payment",
        lines=draft.lines,
        shipping=draft.shipping,
        discount=draft.discount,
        total=Money(total, draft.shipping.currency),
        refunded=Money(0, draft.shipping.currency),
        created_ms=draft.created_ms,
        pay_by_ms=draft.pay_by_ms,
        payment_id=None,
        destination=draft.destination,
        contact_email=draft.contact_email,
        note=draft.note,
    )
