"""Notifications with the neighbours their contracts show."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.notifications import wiring
from doorbuster.contexts.notifications.outgoing import Resolve, resolve_by_system
from doorbuster.contexts.notifications.service import NotificationsService
from doorbuster.contexts.notifications.tables import messages
from doorbuster.contexts.notifications.wiring import NotificationsContext
from doorbuster.contracts.accounts import Account, Buyer, Contact
from doorbuster.contracts.notifications import Channel
from doorbuster.contracts.orders import CancelCause, Order, OrderCancelled, OrderDraft, OrderPaid
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.events import Envelope, Event
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal, Role
from doorbuster.platform.bus.consumer import handle_once
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import NotificationsSettings
from doorbuster.platform.sql.database import Database

MIGRATIONS = "doorbuster.contexts.notifications.migrations"
ANN, BEN = Principal(101, "customer"), Principal(102, "customer")
GUEST = Principal(103, "guest")
TEA_HOUSE, RIVAL = Principal(201, "merchant"), Principal(202, "merchant")
ROOT = Principal(301, "admin")
PRICE = Money(199_00, "CNY")


@dataclass
class People:
    """Accounts, as far as their contract is asked."""

    known: dict[int, Contact] = field(
        default_factory=lambda: {
            101: Contact(101, "ann@example.org", "Ann", "customer"),
            102: Contact(102, "ben@example.org", "Ben", "customer"),
            201: Contact(201, "tea@example.org", "Tea House", "merchant"),
            202: Contact(202, "rival@example.org", "Rival", "merchant"),
        }
    )

    async def contacts(self, account_ids: Sequence[int]) -> Sequence[Contact]:
        return [self.known[each] for each in sorted(set(account_ids)) if each in self.known]

    async def create_buyers(self, count: int, token_lifetime_s: int) -> Sequence[Buyer]:
        raise AssertionError("notifications never create buyers")

    async def ensure_staff(self, email: str, password: str, role: Role) -> Account:
        raise AssertionError("notifications never make staff")


@dataclass
class Ordered:
    """Orders, as far as their contract is asked."""

    known: dict[int, Order] = field(default_factory=dict[int, Order])

    async def find_many(self, order_ids: Sequence[int]) -> Sequence[Order]:
        return [self.known[each] for each in sorted(set(order_ids)) if each in self.known]

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        raise AssertionError("notifications never place orders")

    async def cancel_unpaid(self, order_id: int, cause: CancelCause) -> Order | None:
        raise AssertionError("notifications never cancel")

    async def send_off(self, order_id: int, actor: str, cause: str) -> Order:
        raise AssertionError("notifications never send off")

    async def complete(self, order_id: int, actor: str, cause: str) -> Order:
        raise AssertionError("notifications never complete")


@dataclass
class NotifyingShop:
    platform: Platform
    clock: ManualClock
    database: Database
    people: People
    ordered: Ordered
    built: NotificationsContext
    _seqs: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def service(self) -> NotificationsService:
        return self.built.service

    def order(self, customer: Principal = ANN, merchant: Principal = TEA_HOUSE, email: str | None = None) -> Order:
        order_id = self.platform.ids.next(customer.account_id)
        nothing = Money(0, "CNY")
        self.ordered.known[order_id] = Order(
            id=order_id,
            customer_id=customer.account_id,
            merchant_id=merchant.account_id,
            sale_id=None,
            fulfilment="parcel",
            status="paid",
            lines=(),
            shipping=nothing,
            discount=nothing,
            total=PRICE,
            refunded=nothing,
            created_ms=self.clock.now_ms(),
            pay_by_ms=self.clock.now_ms(),
            payment_id=1,
            contact_email=email,
        )
        return self.ordered.known[order_id]

    def envelope(self, event: Event, source: str = "orders", seq: int | None = None) -> Envelope[Event]:
        return Envelope(source, next(self._seqs) if seq is None else seq, self.clock.now_ms(), event)

    async def tell(self, *envelopes: Envelope[Event]) -> None:
        """Delivers events to the consumer of their source."""
        for envelope in envelopes:
            consumer = next(each for each in self.built.context.consumers if each.source == envelope.source)
            await self.database.write(
                lambda tx, consumer=consumer, envelope=envelope: handle_once(tx, consumer, [envelope])
            )

    async def paid(self, order: Order | None = None) -> Order:
        """A paid order, told and addressed."""
        order = order or self.order()
        await self.tell(self.envelope(paid_event(order)))
        await self.built.addressing.step()
        return order

    async def send(self, channel: Channel) -> int:
        """What is due by a channel; how many were tried."""
        lane = self.built.sender.lanes[channel]
        tried = 0
        while claimed := await lane.fill():
            tried += claimed
            await lane.drain()
        return tried

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def by(self, channel: Channel) -> Sequence[sa.Row[Any]]:
        return await self.rows(messages, messages.c.channel == channel)

    async def only(self, channel: Channel) -> sa.Row[Any]:
        (row,) = await self.by(channel)
        return row

    async def broken(self) -> list[str]:
        return [check.name for check in await self.service.audit() if not check.ok]

    async def close(self) -> None:
        await self.built.close()


def paid_event(order: Order) -> OrderPaid:
    return OrderPaid(
        order.id, order.customer_id, 1, order.total, order.merchant_id, None, order.fulfilment, (), order.destination
    )


def cancelled_event(order: Order, *, was_paid: bool) -> OrderCancelled:
    return OrderCancelled(order.id, order.customer_id, None, "customer", was_paid, ())


def build_shop(
    platform: Platform,
    clock: ManualClock,
    database: Database,
    settings: Mapping[str, object] | None = None,
    resolve: Resolve = resolve_by_system,
) -> NotifyingShop:
    """With a post office that nobody has opened, unless `settings` say otherwise."""
    chosen = {"smtp_host": "127.0.0.1", "smtp_port": 1, "smtp_tls": "none", "mail_from": "shop@shop.example"}
    notifications = msgspec.convert(chosen | dict(settings or {}), NotificationsSettings)
    platform = Platform(
        msgspec.structs.replace(platform.settings, notifications=notifications),
        platform.clock,
        platform.ids,
        platform.wakeups,
    )
    people, ordered = People(), Ordered()
    built = wiring.build(platform, database, people, ordered, resolve, dice=lambda: 1.0)
    return NotifyingShop(platform, clock, database, people, ordered, built)
