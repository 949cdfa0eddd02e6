"""Orders with the neighbours their contracts show: claims that are there, and a cash desk that keeps its word."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.orders import wiring
from doorbuster.contexts.orders.completion import Completion
from doorbuster.contexts.orders.expiry import Expiry
from doorbuster.contexts.orders.service import OrdersService
from doorbuster.contexts.orders.tables import lines, moves, orders, refund_lines, refunds
from doorbuster.contracts.audit import Check
from doorbuster.contracts.flash_sale import Claim, ClaimAccepted, ClaimRequest, FlashSale
from doorbuster.contracts.inventory import Hold, HoldRequest
from doorbuster.contracts.orders import (
    Fulfilment,
    GoodsReturned,
    Line,
    Order,
    OrderCancelled,
    OrderCompleted,
    OrderDraft,
    OrderPaid,
    OrderPartlyRefunded,
    OrderPlaced,
    OrderRefunded,
    OrderShipped,
    PaidLine,
    RefundRequested,
)
from doorbuster.contracts.payments import (
    CLOSE_MAX,
    AlreadyPaid,
    Closed,
    Payment,
    PaymentCaptured,
    PaymentOpen,
    PaymentRefunded,
    Payments,
)
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Invalid
from doorbuster.kernel.events import Envelope, Event
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Destination, Place
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.consumer import Consumer, handle_once
from doorbuster.platform.bus.outbox import type_of
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database

PRICE = Money(1990, "CNY")
PAY_WITHIN_MS = 60_000
SALE, MERCHANT = 5, 77
TABLES = (orders, lines, moves, refunds, refund_lines, outbox)
TOLD = {
    type_of(kind): kind
    for kind in (
        OrderPlaced,
        OrderPaid,
        OrderCancelled,
        RefundRequested,
        OrderRefunded,
        OrderPartlyRefunded,
        GoodsReturned,
        OrderShipped,
        OrderCompleted,
    )
}


class Warehouse:
    """The warehouse as orders see it: what is held can be held longer, unless it is `gone`."""

    def __init__(self) -> None:
        self.gone: set[int] = set()
        self.kept: dict[int, int] = {}

    async def extend_many(self, order_ids: Sequence[int], until_ms: int) -> Mapping[int, bool]:
        self.kept |= {order_id: until_ms for order_id in order_ids if order_id not in self.gone}
        return {order_id: order_id not in self.gone for order_id in order_ids}

    async def hold_many(self, requests: Sequence[HoldRequest], deadline: object = None) -> Sequence[Hold | Exception]:
        raise AssertionError("orders hold nothing")

    async def release_many(self, order_ids: Sequence[int]) -> None:
        raise AssertionError("orders tell, and the warehouse lets go")

    async def holds(self, order_ids: Sequence[int]) -> Sequence[Hold]:
        raise AssertionError("orders do not look")

    async def available(self, sku_ids: Sequence[int]) -> Mapping[int, int]:
        raise AssertionError("orders do not look")

    async def allot(self, sale_id: int, sku_id: int, units: int) -> None:
        raise AssertionError("orders allot nothing")


HOME = Destination("Ann", "+86 10 1234", "CN", "", "北京", "长安街 1", "100000", Place(39.9, 116.4))
ONE = (PaidLine(9, 1),)


class Claims:
    """The flash sale as orders see it: a claim is there or it is not."""

    def __init__(self) -> None:
        self.made: dict[int, Claim] = {}

    async def claims(self, order_ids: Sequence[int]) -> Sequence[Claim]:
        return [self.made[order_id] for order_id in sorted(order_ids) if order_id in self.made]

    async def claim_many(self, requests: Sequence[ClaimRequest], deadline: object = None) -> Sequence[Claim]:
        raise AssertionError("orders never claim")


@dataclass
class CashDesk:
    """Payments in memory: one open payment per order, keys that are bound, and no capture after closing.

    `silent` holds orders the provider cannot speak for; `while_closing` runs after the answer is decided and
    before it is given, which is where races happen.
    """

    next_id: Callable[[], int]
    clock: ManualClock
    of_key: dict[tuple[int, str], Payment] = field(default_factory=dict)
    status: dict[int, str] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    asked: list[list[int]] = field(default_factory=list)
    while_closing: Callable[[], Awaitable[None]] | None = None

    async def create(
        self, order_id: int, customer_id: int, amount: Money, key: str, method: str | None = None
    ) -> Payment:
        bound = self.of_key.get((order_id, key))
        if bound is not None:
            if (bound.customer_id, bound.amount) != (customer_id, amount):
                raise IdempotencyKeyReused
            return bound
        for other in self._of(order_id):
            if self.status[other.id] == "captured":
                raise AlreadyPaid(payment_id=other.id)
            if self.status[other.id] == "pending":
                raise PaymentOpen(payment_id=other.id)
        return self.open(order_id, customer_id, amount, key)

    def open(self, order_id: int, customer_id: int = 1, amount: Money = PRICE, key: str = "key") -> Payment:
        """An open payment, whatever others there are."""
        number = self.next_id()
        url = f"https://provider.example/{number}"
        payment = Payment(number, order_id, customer_id, "desk", "pending", amount, url, self.clock.now_ms())
        self.of_key[order_id, key] = payment
        self.status[number] = "pending"
        return payment

    async def opened_with(self, order_id: int, key: str) -> Payment | None:
        return self.of_key.get((order_id, key))

    async def close_open(self, order_ids: Sequence[int]) -> Mapping[int, Closed]:
        if len(order_ids) > CLOSE_MAX:
            raise Invalid("too many")
        self.asked.append(list(order_ids))
        answers = {order_id: self._close(order_id) for order_id in order_ids}
        if self.while_closing is not None:
            await self.while_closing()
        return answers

    def _close(self, order_id: int) -> Closed:
        if order_id in self.silent:
            return "unknown"
        mine = self._of(order_id)
        if any(self.status[payment.id] == "captured" for payment in mine):
            return "captured"
        for payment in mine:
            self.status[payment.id] = "cancelled"
        return "closed"

    def _of(self, order_id: int) -> list[Payment]:
        return [payment for (owner, _), payment in self.of_key.items() if owner == order_id]

    def capture(self, payment: Payment, amount: Money | None = None) -> PaymentCaptured:
        """The money is in, also when nobody expected it any more; the event that says so."""
        self.status[payment.id] = "captured"
        return PaymentCaptured(payment.id, payment.order_id, amount or payment.amount, self.clock.now_ms())

    def refund(
        self, payment: Payment, cause: str = "customer", amount: Money | None = None, *, whole: bool = True
    ) -> PaymentRefunded:
        if whole:
            self.status[payment.id] = "refunded"
        back = amount or payment.amount
        return PaymentRefunded(payment.id, payment.order_id, back, cause, whole, self.clock.now_ms())


@dataclass
class OrderingShop:
    service: OrdersService
    expiry: Expiry
    completion: Completion
    consumers: Sequence[Consumer]
    database: Database
    clock: ManualClock
    platform: Platform
    sale: Claims
    desk: CashDesk
    warehouse: Warehouse
    delivered: int = 0

    def claim(self, customer_id: int = 1, quantity: int = 1, pay_within_ms: int = PAY_WITHIN_MS) -> Claim:
        """A claim that is committed; its event is still under way."""
        now_ms = self.clock.now_ms()
        order_id = self.platform.ids.next(customer_id)
        claim = Claim(
            order_id, SALE, customer_id, 9, "Tea 茶", quantity, PRICE, now_ms, now_ms + pay_within_ms, MERCHANT
        )
        self.sale.made[order_id] = claim
        return claim

    async def place(self, customer_id: int = 1, pay_within_ms: int = PAY_WITHIN_MS) -> int:
        """An order whose event has come through; its id."""
        return (await self.place_all(1, customer_id, pay_within_ms))[0]

    async def place_all(self, count: int, customer_id: int = 1, pay_within_ms: int = PAY_WITHIN_MS) -> list[int]:
        made = [self.claim(customer_id, pay_within_ms=pay_within_ms) for _ in range(count)]
        await self.deliver(*(ClaimAccepted(claim) for claim in made))
        return [claim.order_id for claim in made]

    def draft(self, fulfilment: Fulfilment = "parcel", discount: int = 0, customer_id: int = 1) -> OrderDraft:
        """Two lines and shipping: 2 × 19.90, 1 × 5.00, 3.00, less the discount."""
        now_ms = self.clock.now_ms()
        return OrderDraft(
            id=self.platform.ids.next(customer_id),
            customer_id=customer_id,
            merchant_id=MERCHANT,
            fulfilment=fulfilment,
            lines=(Line(9, "Tea 茶", 2, PRICE), Line(10, "Cup 杯", 1, Money(500, "CNY"))),
            shipping=Money(300, "CNY"),
            discount=Money(discount, "CNY"),
            destination=HOME,
            contact_email="ann@example.org",
            note="ring twice",
            created_ms=now_ms,
            pay_by_ms=now_ms + PAY_WITHIN_MS,
        )

    async def ordered(self, fulfilment: Fulfilment = "parcel", discount: int = 0) -> tuple[Order, Payment]:
        """An order that checkout placed, and that is paid."""
        (order,) = await self.service.place_many([self.draft(fulfilment, discount)])
        assert isinstance(order, Order)
        payment = self.desk.open(order.id, amount=order.total)
        await self.deliver(self.desk.capture(payment))
        return order, payment

    async def place_and_pay(self) -> tuple[int, Payment]:
        order_id = await self.place()
        payment = self.desk.open(order_id)
        await self.deliver(self.desk.capture(payment))
        return order_id, payment

    async def deliver(self, *events: Event) -> None:
        """What the relay does with events of one neighbour, in one batch."""
        await self.deliver_as(self.new_seqs(len(events)), *events)

    def new_seqs(self, count: int) -> range:
        self.delivered += count
        return range(self.delivered - count + 1, self.delivered + 1)

    async def deliver_as(self, seqs: Sequence[int], *events: Event) -> None:
        """The same under given numbers: the same number is the same event again."""
        consumer = next(each for each in self.consumers if isinstance(events[0], each.types))
        envelopes = [
            Envelope(consumer.source, seq, self.clock.now_ms(), event) for seq, event in zip(seqs, events, strict=True)
        ]
        await self.database.write(lambda tx: handle_once(tx, consumer, envelopes))

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        """All rows of all tables: to prove that nothing was written."""
        return [await self.rows(table) for table in TABLES]

    async def row(self, order_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(orders, orders.c.id == order_id)
        return row

    async def status(self, order_id: int) -> str:
        return (await self.row(order_id)).status

    async def history(self, order_id: int) -> list[tuple[str | None, str, str, str]]:
        """(from, to, actor, cause) of each move, checked to lead from one to the next and to where the order is."""
        row = await self.row(order_id)
        steps = await self.rows(moves, moves.c.order_id == order_id)
        assert [step.n for step in steps] == list(range(1, row.version + 1))
        assert [step.from_status for step in steps] == [None, *(step.to_status for step in steps[:-1])]
        assert steps[-1].to_status == row.status
        return [(step.from_status, step.to_status, step.actor, step.cause) for step in steps]

    async def told(self, order_id: int | None = None) -> list[Event]:
        """What was announced, about one order or all."""
        found = await self.rows(outbox)
        events = [msgspec.json.decode(row.payload, type=TOLD[row.type]) for row in found]
        return [event for event in events if order_id in (None, event.aggregate_id)]

    async def checks(self) -> dict[str, Check]:
        return {check.name: check for check in await self.service.audit()}

    async def tamper(self, *statements: sa.Executable) -> None:
        """Changes rows behind the service's back."""
        await self.database.write(lambda tx: [tx.execute(statement) for statement in statements])


def build_shop(platform: Platform, clock: ManualClock, database: Database) -> OrderingShop:
    claims, desk = Claims(), CashDesk(platform.ids.next, clock)
    sale: FlashSale = claims
    payments: Payments = desk
    warehouse = Warehouse()
    built = wiring.build(platform, database, sale, payments, warehouse)
    consumers = built.context.consumers
    loops = built.expiry, built.completion
    return OrderingShop(built.service, *loops, consumers, database, clock, platform, claims, desk, warehouse)


def paid_event(order_id: int, payment_id: int, customer_id: int = 1) -> OrderPaid:
    """What is told when an order of the sale is paid."""
    return OrderPaid(order_id, customer_id, payment_id, PRICE, MERCHANT, SALE, "parcel", ONE, None)


def cancelled_event(order_id: int, cause: str = "customer", *, was_paid: bool = False) -> OrderCancelled:
    """What is told when an order of the sale is given up."""
    return OrderCancelled(order_id, 1, SALE, cause, was_paid, ONE)


def shopper(customer_id: int = 1) -> Principal:
    return Principal(customer_id, "customer")
