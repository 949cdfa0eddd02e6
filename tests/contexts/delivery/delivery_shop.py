"""Delivery on an empty database, with orders that keep their contract."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from msgspec import structs

from doorbuster.contexts.delivery import wiring
from doorbuster.contexts.delivery.tables import entries, metadata, moves, offers, shipments, tasks
from doorbuster.contexts.delivery.wiring import DeliveryContext
from doorbuster.contracts.orders import (
    CancelCause,
    Fulfilment,
    Order,
    OrderCancelled,
    OrderDraft,
    OrderNotCompletable,
    OrderNotFound,
    OrderNotShippable,
    OrderPaid,
)
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.events import Envelope, Event
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Destination, Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database

MIGRATIONS = "doorbuster.contexts.delivery.migrations"
SHOP, HOME = Place(30.25, 120.15), Place(30.26, 120.16)
ANN, BEN = Principal(101, "customer"), Principal(102, "customer")
MERCHANT, OTHER_MERCHANT = Principal(201, "merchant"), Principal(202, "merchant")
EVA = Principal(301, "support")
KAI, LIN = Principal(401, "courier"), Principal(402, "courier")
NOTHING = Money(0, "CNY")
DESTINATION = Destination("Ann Lee", "+86 555 0100", "CN", "", "Hangzhou", "1 Lake Road", "", HOME)


class KeptOrders:
    """Satisfies contracts.orders.Orders for delivery: one of sending off and giving back wins. `away`: no answer."""

    def __init__(self) -> None:
        self.known: dict[int, Order] = {}
        self.causes: dict[int, str] = {}
        self.away = False

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        raise NotImplementedError

    async def cancel_unpaid(self, order_id: int, cause: CancelCause) -> Order | None:
        raise NotImplementedError

    async def find_many(self, order_ids: Sequence[int]) -> Sequence[Order]:
        return [self.known[each] for each in sorted(order_ids) if each in self.known]

    async def send_off(self, order_id: int, actor: str, cause: str) -> Order:
        order = self._there(order_id)
        if order.status == "paid":
            self.causes[order_id] = cause
            return self.put(order, "shipped" if order.fulfilment == "parcel" else "delivering")
        if self.causes.get(order_id) != cause:
            raise OrderNotShippable(status=order.status)
        return order

    async def complete(self, order_id: int, actor: str, cause: str) -> Order:
        order = self._there(order_id)
        if order.status not in ("shipped", "delivering", "completed"):
            raise OrderNotCompletable(status=order.status)
        return self.put(order, "completed")

    def give_back(self, order_id: int) -> bool:
        """Whether it was faster than sending off."""
        order = self.known[order_id]
        if order.status == "paid":
            self.put(order, "refunding")
        return self.known[order_id].status == "refunding"

    def _there(self, order_id: int) -> Order:
        if self.away:
            raise Unavailable
        if order_id not in self.known:
            raise OrderNotFound
        return self.known[order_id]

    def put(self, order: Order, status: Any) -> Order:
        self.known[order.id] = structs.replace(order, status=status)
        return self.known[order.id]


@dataclass
class DeliveryShop:
    platform: Platform
    clock: ManualClock
    database: Database
    orders: KeptOrders
    built: DeliveryContext
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def service(self) -> Any:
        return self.built.service

    @property
    def riding(self) -> Any:
        return self.built.service.riding

    async def hear(self, *events: Event) -> None:
        """The consumer's effect, as the relay would have it."""
        (consumer,) = self.built.context.consumers
        told = [Envelope("orders", next(self._numbers), self.clock.now_ms(), event) for event in events]
        await self.database.write(lambda tx: consumer.handle(tx, told))

    def order(self, fulfilment: Fulfilment = "takeout", customer: Principal = ANN) -> Order:
        """A paid order whose event is still under way."""
        order_id = self.platform.ids.next(customer.account_id)
        fields: dict[str, Any] = {"shipping": NOTHING, "discount": NOTHING, "total": NOTHING, "refunded": NOTHING}
        fields |= {"sale_id": None, "status": "paid", "lines": (), "created_ms": 0, "pay_by_ms": 0, "payment_id": 9}
        order = Order(
            id=order_id,
            customer_id=customer.account_id,
            merchant_id=MERCHANT.account_id,
            fulfilment=fulfilment,
            destination=DESTINATION,
            **fields,
        )
        self.orders.known[order_id] = order
        return order

    async def paid(self, fulfilment: Fulfilment = "takeout", customer: Principal = ANN) -> int:
        order = self.order(fulfilment, customer)
        await self.hear(paid_event(order))
        return order.id

    async def ready(self, count: int = 1) -> list[int]:
        """Takeout orders that wait for a courier."""
        await self.service.put_place(MERCHANT, SHOP)
        made = [await self.paid() for _ in range(count)]
        for order_id in made:
            await self.service.accept(MERCHANT, order_id)
            await self.service.ready(MERCHANT, order_id)
        return made

    async def online(self, courier: Principal = KAI, at: Place = SHOP) -> None:
        await self.riding.presence(courier, online=True)
        self.clock.advance(1_000)
        await self.riding.report(courier, [(at, 0)])

    async def offered(self, courier: Principal = KAI) -> tuple[int, int]:
        """(order, offer): one order that this courier is asked for."""
        (order_id,) = await self.ready()
        await self.online(courier)
        await self.built.dispatcher.round()
        (offer,) = await self.rows(offers, offers.c.task_id == order_id, offers.c.status == "open")
        return order_id, offer.id

    async def assigned(self, courier: Principal = KAI) -> int:
        order_id, offer_id = await self.offered(courier)
        await self.riding.accept(courier, offer_id)
        return order_id

    async def cancel(self, order_id: int) -> bool:
        """Orders give it back, if they can, and say so."""
        given_back = self.orders.give_back(order_id)
        if given_back:
            await self.hear(cancelled_event(order_id))
        return given_back

    async def task(self, order_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(tasks, tasks.c.id == order_id)
        return row

    async def parcel(self, order_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(shipments, shipments.c.order_id == order_id)
        return row

    async def way(self, order_id: int) -> list[str]:
        return [row.to_status for row in await self.rows(moves, moves.c.task_id == order_id)]

    async def told(self, kind: str) -> int:
        return len(await self.rows(outbox, outbox.c.type == kind))

    async def seen(self, order_id: int) -> list[bytes]:
        return [bytes(row.payload) for row in await self.rows(entries, entries.c.order_id == order_id)]

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        """All rows of all tables: to prove that nothing was written."""
        return [await self.rows(table) for table in metadata.sorted_tables]

    async def broken(self) -> list[str]:
        return [check.name for check in await self.built.service.audit() if not check.ok]


def paid_event(order: Order) -> OrderPaid:
    return OrderPaid(
        order.id, order.customer_id, 9, order.total, order.merchant_id, None, order.fulfilment, (), order.destination
    )


def cancelled_event(order_id: int) -> OrderCancelled:
    return OrderCancelled(order_id, ANN.account_id, None, "customer", True, ())


def build_shop(platform: Platform, clock: ManualClock, database: Database) -> DeliveryShop:
    orders = KeptOrders()
    return DeliveryShop(platform, clock, database, orders, wiring.build(platform, database, orders))
