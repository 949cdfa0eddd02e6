"""Use cases of orders: read, pay, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from doorbuster.contexts.orders import books, store
from doorbuster.contexts.orders.model import GIVEN_BACK, may_be_paid, order_of
from doorbuster.contracts.audit import FACTS_PAGE, Check, OrderFact
from doorbuster.contracts.flash_sale import FlashSale
from doorbuster.contracts.orders import (
    CancelCause,
    Order,
    OrderCancelled,
    OrderNotCancellable,
    OrderNotFound,
    OrderNotPayable,
    PaymentMismatch,
    RefundRequested,
)
from doorbuster.contracts.payments import Payment, Payments
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.events import Event
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.paging import Page

NAME = "orders"


class OrdersService:
    def __init__(self, platform: Platform, database: Database, flash_sale: FlashSale, payments: Payments) -> None:
        self._platform = platform
        self._database = database
        self._flash_sale = flash_sale
        self._payments = payments

    async def order(self, principal: Principal, order_id: int) -> Order:
        """One's own order; support and admins see all. Raises OrderNotFound, also for somebody else's."""
        order = await self._find(order_id)
        if order.customer_id != principal.account_id and principal.role not in ("support", "admin"):
            raise OrderNotFound
        return order

    async def _find(self, order_id: int) -> Order:
        """The order; written now if its claim is committed and its event still under way."""
        order = await self._database.read(lambda tx: store.find(tx, order_id))
        if order is not None:
            return order
        claims = await self._flash_sale.claims([order_id])
        if not claims:
            raise OrderNotFound

        def work(tx: Tx) -> Order | None:
            store.insert_missing(tx, [order_of(claim) for claim in claims], "flash_sale", "claim")
            return store.find(tx, order_id)

        order = await self._database.write(work)
        assert order is not None, "just written"
        return order

    async def orders(self, principal: Principal, before: int | None, limit: int) -> Page[Order]:
        """One's own orders, newest first, without history."""
        found = await self._database.read(
            lambda tx: store.list_of(tx, principal.account_id, before or ID_MAX, limit + 1)
        )
        more = len(found) > limit
        return Page(found[:limit], found[limit - 1].id if more else None)

    async def pay(self, principal: Principal, order_id: int, key: str, amount: Money) -> Payment:
        """Opens a payment of one's own order; `amount` is what the payer believes to owe.

        Raises OrderNotFound, PaymentMismatch, OrderNotPayable, and what Payments.create raises.
        """
        order = await self.order(principal, order_id)
        if order.customer_id != principal.account_id:
            raise OrderNotFound
        if amount != order.total:
            raise PaymentMismatch(f"the order's total is {order.total.amount} {order.total.currency}")
        if not may_be_paid(order, self._platform.clock.now_ms()):
            # The same key gets its answer again, also when the order has moved on.
            opened = await self._payments.opened_with(order_id, key)
            if opened is None:
                raise OrderNotPayable(status=order.status)
            return opened
        return await self._payments.create(order.id, order.customer_id, order.total, key)

    async def cancel(self, principal: Principal, order_id: int) -> Order:
        """Cancels one's own order; a paid one is refunded. Doing it again changes nothing.

        Raises OrderNotFound, OrderNotCancellable, Unavailable (the payment provider cannot be asked).
        """
        order = await self.order(principal, order_id)
        if order.status == "pending_payment":
            return await self._cancel_unpaid(principal, order)
        if order.status == "paid":
            return await self._cancel_paid(principal, order)
        if order.status in GIVEN_BACK:
            return order
        raise OrderNotCancellable(status=order.status)

    async def _cancel_unpaid(self, principal: Principal, order: Order) -> Order:
        answer = (await self._payments.close_open([order.id])).get(order.id)
        if answer == "unknown":
            raise Unavailable("the payment provider cannot be asked whether this order was paid")
        if answer == "captured":
            raise OrderNotCancellable("the payment has just come in; cancel again to have it refunded")
        cause = _cause(principal, order)

        def work(tx: Tx) -> list[Event]:
            moved = store.move(
                tx,
                [order.id],
                "pending_payment",
                "cancelled",
                actor=f"account {principal.account_id}",
                cause=cause,
                now_ms=self._platform.clock.now_ms(),
            )
            return [OrderCancelled(each.id, each.customer_id, each.sale_id, cause) for each in moved]

        return await self._tell(order.id, work)

    async def _cancel_paid(self, principal: Principal, order: Order) -> Order:
        cause = _cause(principal, order)

        def work(tx: Tx) -> list[Event]:
            moved = store.move(
                tx,
                [order.id],
                "paid",
                "refunding",
                actor=f"account {principal.account_id}",
                cause=cause,
                now_ms=self._platform.clock.now_ms(),
            )
            told: list[Event] = []
            for each in moved:
                assert each.payment_id is not None, "a paid order has a payment, by a check of the database"
                told.append(OrderCancelled(each.id, each.customer_id, each.sale_id, cause))
                told.append(RefundRequested(each.id, each.payment_id, each.total, cause))
            return told

        return await self._tell(order.id, work)

    async def _tell(self, order_id: int, work: Callable[[Tx], Sequence[Event]]) -> Order:
        """Runs a move with its events, and returns the order as it stands afterwards, whoever moved it.

        Raises OrderNotCancellable when somebody was faster and moved it elsewhere: then nothing was told.
        """

        def move_and_tell(tx: Tx) -> Order | None:
            emit(tx, work(tx), self._platform.clock.now_ms())
            return store.find(tx, order_id)

        order = await self._database.write(move_and_tell)
        assert order is not None, "orders are never deleted"
        if order.status not in GIVEN_BACK:
            raise OrderNotCancellable(status=order.status)
        self._platform.wakeups.wake(NAME)
        return order

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms = self._platform.clock.now_ms()
        return await self._database.read(lambda tx: books.checks(tx, now_ms))

    async def order_facts(self, after: int = 0) -> AsyncIterator[Sequence[OrderFact]]:
        """See contracts.audit.AuditsOrders."""
        while True:
            page = await self._database.read(lambda tx, after=after: store.page_of_facts(tx, after, FACTS_PAGE))
            if page:
                yield page
                after = page[-1].order_id
            if len(page) < FACTS_PAGE:
                return

    async def order_facts_of(self, order_ids: Sequence[int]) -> Sequence[OrderFact]:
        """See contracts.audit.AuditsOrders."""
        return await self._database.read(lambda tx: store.facts_of(tx, order_ids))


def _cause(principal: Principal, order: Order) -> CancelCause:
    return "customer" if principal.account_id == order.customer_id else "support"
