"""A checkout with neighbours, and looks at the rows of all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from contexts.checkout.neighbours import MERCHANT, TEA, OrderBook, Shelf, Warehouse
from doorbuster.contexts.checkout import wiring
from doorbuster.contexts.checkout.model import (
    CartLine,
    Checkout,
    Coupon,
    Delivery,
    NewCart,
    NewCoupon,
    PlaceRequest,
    Shown,
)
from doorbuster.contexts.checkout.service import CheckoutService
from doorbuster.contexts.checkout.tables import carts, checkouts, coupon_uses, coupons, redemptions, shipping_methods
from doorbuster.contexts.checkout.wiring import CheckoutContext
from doorbuster.contracts.orders import OrderCancelled
from doorbuster.kernel.clock import Clock, ManualClock
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.places import Destination, Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.consumer import handle_once
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.sql.database import Database

T = TypeVar("T")

SELLER = Principal(MERCHANT, "merchant")
HOME = Destination(
    "Ann Lee", "+86 555 0100", "CN", "Zhejiang", "Hangzhou", "1 Lake Road", "310000", Place(30.25, 120.16)
)
DELIVERY = Delivery(HOME, "ann@example.org", "standard")
TABLES = (carts, checkouts, coupons, redemptions, coupon_uses, shipping_methods)


@dataclass
class PlacingShop:
    built: CheckoutContext
    database: Database
    clock: Clock
    platform: Platform
    ring: KeyRing
    shelf: Shelf
    warehouse: Warehouse
    orders: OrderBook
    told: int = 0
    keys: int = field(default=0)

    @property
    def service(self) -> CheckoutService:
        return self.built.service

    @property
    def manual(self) -> ManualClock:
        assert isinstance(self.clock, ManualClock)
        return self.clock

    def key(self) -> str:
        self.keys += 1
        return f"key-{self.keys}"

    def customer(self) -> Principal:
        return Principal(self.platform.ids.next_owner(), "customer")

    async def filled(self, who: Principal, *lines: tuple[int, int], delivery: Delivery | None = DELIVERY) -> Shown:
        """A new cart of somebody with an account."""
        units = tuple(CartLine(*line) for line in lines or ((TEA, 1),))
        return await self.service.create(who, self.key(), NewCart(units, delivery))

    async def guest_cart(
        self, *lines: tuple[int, int], delivery: Delivery | None = DELIVERY
    ) -> tuple[Principal, Shown]:
        units = tuple(CartLine(*line) for line in lines or ((TEA, 1),))
        shown = await self.service.create(None, None, NewCart(units, delivery))
        assert shown.guest is not None
        return Principal(shown.guest.id, "guest"), shown

    async def place(self, who: Principal, shown: Shown, key: str | None = None, note: str = "") -> Checkout:
        assert shown.quote is not None
        request = PlaceRequest(shown.quote.fingerprint, note)
        return await self.service.place(who, shown.cart.id, key or self.key(), request)

    async def coupon(self, code: str = "SAVE10", **changes: Any) -> Coupon:
        now_ms = self.clock.now_ms()
        terms: dict[str, Any] = {
            "kind": "percent",
            "percent": 10,
            "currency": "CNY",
            "valid_from_ms": now_ms - 1000,
            "valid_to_ms": now_ms + 3_600_000,
        }
        return await self.service.terms.create_coupon(
            SELLER, MERCHANT, self.key(), NewCoupon(code=code, **terms | changes)
        )

    async def with_coupon(self, who: Principal, *lines: tuple[int, int], code: str = "SAVE10") -> Shown:
        shown = await self.filled(who, *lines)
        return await self.service.set_coupon(who, shown.cart.id, code)

    async def cancel(self, *order_ids: int) -> None:
        """What the relay tells of cancelled orders, in one batch."""
        (consumer,) = self.built.context.consumers
        envelopes = [
            Envelope("orders", self.told + n, self.clock.now_ms(), OrderCancelled(each, 1, None, "customer", False, ()))
            for n, each in enumerate(order_ids, start=1)
        ]
        self.told += len(order_ids)
        await self.database.write(lambda tx: handle_once(tx, consumer, envelopes))

    # --- rows -----------------------------------------------------------------------------------------------------

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Any]:
        """All rows of all tables: to prove that nothing was written."""
        found: list[Any] = [await self.rows(table) for table in TABLES]
        return [*found, self.warehouse.all_holds, self.orders.all]

    async def cart_row(self, cart_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(carts, carts.c.id == cart_id)
        return row

    async def sound(self) -> None:
        """Every book of ours holds, and so do those between us and the neighbours."""
        broken = [check for check in await self.service.audit() if check.verdict != "holds"]
        assert not broken, broken
        holds = self.warehouse.all_holds
        placed = {row.id: row for row in await self.rows(checkouts) if row.status == "placed"}
        assert set(placed) <= set(self.orders.all)
        for order_id, order in self.orders.all.items():
            if order.status == "pending_payment":
                assert holds[order_id].status == "held"
                assert (placed[order_id].total_amount, placed[order_id].currency) == (
                    order.total.amount,
                    order.total.currency,
                )
        for order_id, hold in holds.items():
            if hold.status == "held":
                assert order_id in self.orders.all


def build_shop(
    platform: Platform, clock: Clock, database: Database, folder: Path, key: Key | None = None
) -> PlacingShop:
    ring = KeyRing([key or Key.generate()], clock)
    shelf, warehouse, orders = Shelf(), Warehouse(folder / "warehouse.db"), OrderBook(folder / "orders.db")
    built = wiring.build(platform, database, ring, shelf, warehouse, orders)
    return PlacingShop(built, database, clock, platform, ring, shelf, warehouse, orders)


async def all_at_once(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T | Exception]:
    """The calls behind a gate that opens for all; outcomes in order, refusals included."""
    gate = asyncio.Event()

    async def one(call: Callable[[], Awaitable[T]]) -> T | Exception:
        await gate.wait()
        try:
            return await call()
        except Exception as error:  # noqa: BLE001 - the refusals are what the test looks at
            return error

    tasks = [asyncio.create_task(one(call)) for call in calls]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*tasks)


def of_type(outcomes: Sequence[object], kind: type[T]) -> list[T]:
    return [outcome for outcome in outcomes if isinstance(outcome, kind)]
