"""Checkout beside the real orders: one order per placed cart, and what orders say counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from conftest import NOW_MS
from contexts.checkout.conftest import PLENTY
from contexts.checkout.neighbours import TEA, Shelf, Warehouse
from contexts.checkout.placing_shop import DELIVERY, SELLER
from doorbuster.contexts.checkout import wiring
from doorbuster.contexts.checkout.model import CartLine, NewCart, NewCoupon, PlaceRequest
from doorbuster.contexts.checkout.saga import WATCH_MS
from doorbuster.contexts.checkout.tables import checkouts, coupons
from doorbuster.contexts.checkout.wiring import CheckoutContext
from doorbuster.contexts.orders import wiring as orders_wiring
from doorbuster.contexts.orders.tables import orders
from doorbuster.contexts.orders.wiring import OrdersContext
from doorbuster.contracts.orders import OrderCancelled, OrderPlaced
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.principal import Principal
from doorbuster.kernel.request_context import RequestContext, working_on
from doorbuster.platform.bus.consumer import handle_once
from doorbuster.platform.bus.outbox import type_of
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History, migrate
from doorbuster.platform.sql.sqlite import SqliteDatabase


class NoClaims:
    """A flash sale that nobody has been to."""

    async def claims(self, order_ids: Sequence[int]) -> Sequence[Any]:
        return []


class NoPayments:
    """A cash desk where nobody has paid."""

    async def close_open(self, order_ids: Sequence[int]) -> Mapping[int, str]:
        return dict.fromkeys(order_ids, "closed")


@dataclass
class Both:
    checkout: CheckoutContext
    orders: OrdersContext
    warehouse: Warehouse
    database: Database
    order_rows: Database
    clock: ManualClock

    async def rows(self, table: sa.Table) -> Sequence[sa.Row[Any]]:
        database = self.order_rows if table in (orders, outbox) else self.database
        return await database.read(lambda tx: tx.execute(sa.select(table)).all())

    async def deliver_cancellations(self) -> None:
        """What the relay does."""
        (consumer,) = self.checkout.context.consumers
        envelopes = [
            Envelope("orders", row.seq, row.at_ms, msgspec.json.decode(row.payload, type=OrderCancelled))
            for row in await self.rows(outbox)
            if row.type == type_of(OrderCancelled)
        ]
        await self.database.write(lambda tx: handle_once(tx, consumer, envelopes))


@pytest.fixture
async def both(platform: Platform, clock: ManualClock, database: Database, tmp_path: Path) -> AsyncIterator[Both]:
    order_rows = SqliteDatabase("orders", tmp_path / "orders.sqlite")
    await migrate(order_rows, History("doorbuster.contexts.orders.migrations"), NOW_MS)
    warehouse = Warehouse(tmp_path / "warehouse.db")
    warehouse.stock(TEA, PLENTY)
    flash_sale: Any = NoClaims()
    payments: Any = NoPayments()
    real = orders_wiring.build(platform, order_rows, flash_sale, payments, warehouse)
    ring = KeyRing([Key.generate()], clock)
    built = wiring.build(platform, database, ring, Shelf(), warehouse, real.service)
    yield Both(built, real, warehouse, database, order_rows, clock)
    await built.close()
    await real.service.close()
    await order_rows.close()
    warehouse.ledger.close()


async def test_a_cart_becomes_an_order_and_its_cancelling_gives_the_coupon_back(both: Both):
    service, who = both.checkout.service, Principal(41, "customer")
    now_ms = both.clock.now_ms()
    terms = NewCoupon(
        code="SAVE10",
        kind="percent",
        percent=10,
        currency="CNY",
        valid_from_ms=0,
        valid_to_ms=now_ms + 1,
        total_limit=1,
    )
    await service.terms.create_coupon(SELLER, SELLER.account_id, "c", terms)
    shown = await service.create(who, "k", NewCart((CartLine(TEA, 2),), DELIVERY))
    shown = await service.set_coupon(who, shown.cart.id, "SAVE10")
    assert shown.quote is not None
    request = PlaceRequest(shown.quote.fingerprint, "two lines\nof note")
    placed = await service.place(who, shown.cart.id, "p", request)
    assert (await service.place(who, shown.cart.id, "p", request)).id == placed.id
    (row,) = await both.rows(orders)
    assert (row.id, row.total_amount, row.shipping_amount, row.discount_amount) == (placed.id, 3582, 0, 398)
    assert (await both.rows(coupons))[0].used == 1
    assert (await both.orders.service.cancel(who, placed.id)).status == "cancelled"
    await both.deliver_cancellations()
    await both.deliver_cancellations()
    assert (await both.rows(coupons))[0].used == 0
    assert (await service.checkout(who, placed.id)).status == "placed"
    assert not [check for check in await service.audit() if check.verdict != "holds"]


async def test_an_order_tells_of_the_request_that_began_its_checkout(both: Both):
    """Also if it was left placing, and the sweeper, which no request asks, has carried it on."""
    service, who = both.checkout.service, Principal(41, "customer")
    requests = [RequestContext(f"place-{number}", "POST", "/v1/carts/1/checkout", 7, number) for number in (1, 2)]
    for number, request in enumerate(requests):
        shown = await service.create(who, f"k{number}", NewCart((CartLine(TEA, 1),), DELIVERY))
        assert shown.quote is not None
        both.warehouse.ledger.busy.extend([Unavailable("away")] * number)
        working_on(request)
        left = await service.place(who, shown.cart.id, "p", PlaceRequest(shown.quote.fingerprint, ""))
        working_on(None)
    assert left.stage == "placing"
    both.clock.advance(11_000)
    assert await both.checkout.saga.sweep() == 1
    placed = [row for row in await both.rows(outbox) if row.type == type_of(OrderPlaced)]
    assert [row.cause for row in placed] == [request.cause.text for request in requests]


async def test_an_order_that_comes_too_late_is_cancelled(both: Both):
    service, who = both.checkout.service, Principal(41, "customer")
    shown = await service.create(who, "k", NewCart((CartLine(TEA, 2),), DELIVERY))
    assert shown.quote is not None
    both.warehouse.ledger.busy.append(Unavailable("away"))
    left = await service.place(who, shown.cart.id, "p", PlaceRequest(shown.quote.fingerprint, ""))
    both.clock.advance(31_000)
    assert await both.checkout.saga.sweep() == 1
    assert (await both.rows(checkouts))[0].status == "failed"
    await both.orders.service.place_many([left.draft])
    both.clock.advance(WATCH_MS + 1)
    assert await both.checkout.saga.sweep() == 1
    assert [row.status for row in await both.rows(orders)] == ["cancelled"]
