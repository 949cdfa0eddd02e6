"""Use cases of orders: place, read, pay, cancel, send off, complete, refund."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from doorbuster.contexts.orders import asking_back, books, placing, store
from doorbuster.contexts.orders.access import actor_of, is_customer, sells, who_of
from doorbuster.contexts.orders.cancelling import cancel_paid, cancelled
from doorbuster.contexts.orders.completion import complete_rows
from doorbuster.contexts.orders.drafts import Drafts
from doorbuster.contexts.orders.model import (
    GIVEN_BACK,
    SENT_OFF,
    RefundAsked,
    Who,
    may_be_paid,
    order_of,
)
from doorbuster.contexts.orders.refunding import Refunded, refund
from doorbuster.contracts.audit import FACTS_PAGE, Check, OrderFact
from doorbuster.contracts.flash_sale import FlashSale
from doorbuster.contracts.inventory import Inventory
from doorbuster.contracts.orders import (
    CancelCause,
    DestinationFixed,
    Order,
    OrderDraft,
    OrderNotCancellable,
    OrderNotCompletable,
    OrderNotFound,
    OrderNotPayable,
    OrderNotShippable,
    OrderShipped,
    PaymentMismatch,
    Status,
)
from doorbuster.contracts.payments import Payment, Payments
from doorbuster.kernel.errors import Forbidden, Unavailable
from doorbuster.kernel.events import Event
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Destination
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page

NAME = "orders"
PAYMENT_GRACE_MS = 15 * 60_000
"""How long units stay held beyond the deadline of an order whose payment was opened: a provider may be slow to tell."""
ID_LIST_MAX = 1000


class OrdersService:
    """Satisfies contracts.orders.Orders, contracts.audit.Auditable and contracts.audit.AuditsOrders."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        flash_sale: FlashSale,
        payments: Payments,
        inventory: Inventory,
    ) -> None:
        self._platform = platform
        self._database = database
        self._flash_sale = flash_sale
        self._payments = payments
        self._inventory = inventory
        self._drafts = Drafts(platform, database)
        self._looking: GroupCommit[int, Order | None] = GroupCommit(self._look_up, max_batch=ID_LIST_MAX)

    async def close(self) -> None:
        await self._drafts.close()
        await self._looking.close()

    # --- placing ------------------------------------------------------------------------------------------------

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        """See contracts.orders.Orders."""
        return await self._drafts.place_many(drafts)

    # --- reading ------------------------------------------------------------------------------------------------

    async def find_many(self, order_ids: Sequence[int]) -> Sequence[Order]:
        """See contracts.orders.Orders."""
        return await self._database.read(lambda tx: store.find_many(tx, order_ids[:ID_LIST_MAX]))

    async def order(self, principal: Principal, order_id: int) -> Order:
        """One's own order, or one that is for this merchant to fulfil; support and admins see all.

        Raises OrderNotFound, also for somebody else's.
        """
        order = await self._find(order_id)
        if not (is_customer(principal, order) or sells(principal, order)):
            raise OrderNotFound
        return order

    async def _find(self, order_id: int) -> Order:
        """The order with its history; written now if its claim is committed and its event still under way."""
        order = await self._database.read(lambda tx: store.find(tx, order_id))
        return order or await self._write_now(order_id)

    async def _find_row(self, order_id: int) -> Order:
        """The same without history, for those who do not show it. Who asks at the same time shares a snapshot."""
        return await self._looking.submit(order_id) or await self._write_now(order_id)

    async def _look_up(self, order_ids: Sequence[int]) -> Sequence[Order | None]:
        found = {order.id: order for order in await self.find_many(order_ids)}
        return [found.get(order_id) for order_id in order_ids]

    async def _write_now(self, order_id: int) -> Order:
        claims = await self._flash_sale.claims([order_id])
        if not claims:
            raise OrderNotFound

        def work(tx: Tx) -> Order | None:
            placing.insert_missing(tx, [order_of(claim) for claim in claims], "flash_sale", "claim")
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

    async def orders_to_fulfil(
        self, principal: Principal, merchant_id: int | None, status: Status, before: int | None, limit: int
    ) -> Page[Order]:
        """A merchant's own orders that stand at `status`, newest first; support and admins name the merchant.

        Raises Forbidden.
        """
        merchant_id = principal.account_id if merchant_id is None else merchant_id
        if merchant_id != principal.account_id and principal.role not in ("support", "admin"):
            raise Forbidden("these orders are for another merchant to fulfil")
        found = await self._database.read(
            lambda tx: store.list_for_merchant(tx, merchant_id, status, before or ID_MAX, limit + 1)
        )
        more = len(found) > limit
        return Page(found[:limit], found[limit - 1].id if more else None)

    # --- paying -------------------------------------------------------------------------------------------------

    async def pay(
        self, principal: Principal, order_id: int, key: str, amount: Money, method: str | None = None
    ) -> Payment:
        """Opens a payment of one's own order; `amount` is what the payer believes to owe, `method` the token of a
        payment method that is charged at once.

        Raises OrderNotFound, PaymentMismatch, OrderNotPayable, and what Payments.create raises.
        """
        order = await self._find_row(order_id)
        if not is_customer(principal, order):
            raise OrderNotFound
        if amount != order.total:
            raise PaymentMismatch(f"the order's total is {order.total.amount} {order.total.currency}")
        if not may_be_paid(order, self._platform.clock.now_ms()) or not await self._keep_held(order):
            # The same key gets its answer again, also when the order has moved on.
            opened = await self._payments.opened_with(order_id, key)
            if opened is None:
                raise OrderNotPayable(status=order.status)
            return opened
        return await self._payments.create(order.id, order.customer_id, order.total, key, method)

    async def _keep_held(self, order: Order) -> bool:
        """Whether the units of the order stay held while it is paid. (A sale keeps its claims until they expire.)"""
        if order.sale_id is not None:
            return True
        kept = await self._inventory.extend_many([order.id], order.pay_by_ms + PAYMENT_GRACE_MS)
        return kept.get(order.id, False)

    # --- giving up ----------------------------------------------------------------------------------------------

    async def cancel(self, principal: Principal, order_id: int) -> Order:
        """Cancels an order before it is sent off; a paid one is refunded. Doing it again changes nothing.

        For its customer, its merchant, support. Raises OrderNotFound, OrderNotCancellable, Unavailable (the payment
        provider cannot be asked).
        """
        order = await self.order(principal, order_id)
        who = who_of(principal, order)
        if order.status == "pending_payment":
            return await self._cancel_unpaid(order, who, actor_of(principal), who)
        if order.status == "paid":
            return await self._cancel_paid(order, who, actor_of(principal))
        if order.status in GIVEN_BACK:
            return order
        raise OrderNotCancellable(status=order.status)

    async def cancel_unpaid(self, order_id: int, cause: CancelCause) -> Order | None:
        """See contracts.orders.Orders."""
        found = await self.find_many([order_id])
        if not found or found[0].status != "pending_payment":
            return found[0] if found else None
        try:
            return await self._cancel_unpaid(found[0], "checkout", "checkout", cause)
        except OrderNotCancellable:
            return (await self.find_many([order_id]))[0]

    async def _cancel_unpaid(self, order: Order, who: Who, actor: str, cause: str) -> Order:
        answer = (await self._payments.close_open([order.id])).get(order.id)
        if answer == "unknown":
            raise Unavailable("the payment provider cannot be asked whether this order was paid")
        if answer == "captured":
            raise OrderNotCancellable("the payment has just come in; cancel again to have it refunded")

        def work(tx: Tx) -> list[Event]:
            moved = store.move(
                tx,
                [order.id],
                "pending_payment",
                "cancelled",
                who=who,
                actor=actor,
                cause=cause,
                now_ms=self._platform.clock.now_ms(),
            )
            return cancelled(tx, moved, cause, was_paid=False)

        return await self._give_up(order.id, work)

    async def _cancel_paid(self, order: Order, who: Who, actor: str) -> Order:
        now_ms = self._platform.clock.now_ms()
        return await self._give_up(order.id, lambda tx: cancel_paid(tx, order.id, who, actor, now_ms))

    async def _give_up(self, order_id: int, work: Callable[[Tx], Sequence[Event]]) -> Order:
        """Runs a move with its events, and returns the order as it stands afterwards, whoever moved it.

        Raises OrderNotCancellable when somebody was faster and moved it elsewhere: then nothing was told.
        """
        order = await self._tell(order_id, work)
        if order.status not in GIVEN_BACK:
            raise OrderNotCancellable(status=order.status)
        return order

    async def _tell(self, order_id: int, work: Callable[[Tx], Sequence[Event]]) -> Order:
        def move_and_tell(tx: Tx) -> Order | None:
            emit(tx, work(tx), self._platform.clock.now_ms())
            return store.find(tx, order_id)

        order = await self._database.write(move_and_tell)
        assert order is not None, "orders are never deleted"
        self._platform.wakeups.wake(NAME)
        return order

    # --- on its way ---------------------------------------------------------------------------------------------

    async def change_destination(self, principal: Principal, order_id: int, destination: Destination) -> Order:
        """Until it is sent off. For its customer. Raises OrderNotFound, DestinationFixed."""
        order = await self.order(principal, order_id)
        if not is_customer(principal, order):
            raise OrderNotFound
        if not await self._database.write(lambda tx: store.set_destination(tx, order_id, destination)):
            raise DestinationFixed
        return await self._find(order_id)

    async def send_off(self, order_id: int, actor: str, cause: str) -> Order:
        """See contracts.orders.Orders."""
        (order,) = await self.find_many([order_id]) or [None]
        if order is None:
            raise OrderNotFound
        status = SENT_OFF[order.fulfilment]

        def work(tx: Tx) -> list[Event]:
            moved = store.move(
                tx,
                [order_id],
                "paid",
                status,
                who="delivery",
                actor=actor,
                cause=cause,
                now_ms=self._platform.clock.now_ms(),
            )
            return [OrderShipped(each.id, each.customer_id, status) for each in moved]

        sent = await self._tell(order_id, work)
        if not any(move.to_status == status and move.cause == cause for move in sent.history):
            raise OrderNotShippable(status=sent.status)
        return sent

    async def complete(self, order_id: int, actor: str, cause: str) -> Order:
        """See contracts.orders.Orders."""
        return await self._complete(order_id, "delivery", actor, cause)

    async def receive(self, principal: Principal, order_id: int) -> Order:
        """The customer has the parcel (support may say so for them).

        Raises OrderNotFound, Forbidden (its merchant), OrderNotCompletable.
        """
        order = await self.order(principal, order_id)
        who = who_of(principal, order)
        if who == "merchant":
            raise Forbidden("the customer says whether a parcel has arrived")
        if order.fulfilment != "parcel":
            raise OrderNotCompletable(status=order.status)
        return await self._complete(order_id, who, actor_of(principal), "received")

    async def _complete(self, order_id: int, who: Who, actor: str, cause: str) -> Order:
        (order,) = await self.find_many([order_id]) or [None]
        if order is None:
            raise OrderNotFound
        status = SENT_OFF[order.fulfilment]
        await self._database.write(
            lambda tx: complete_rows(tx, [order_id], status, who, actor, cause, self._platform.clock.now_ms())
        )
        self._platform.wakeups.wake(NAME)
        done = await self._find(order_id)
        if not any(move.to_status == "completed" for move in done.history):
            raise OrderNotCompletable(status=done.status)
        return done

    # --- refunds ------------------------------------------------------------------------------------------------

    async def refund(self, principal: Principal, order_id: int, key: str, asked: RefundAsked) -> Order:
        """Asks back some or all of what was paid: for the order's merchant, support, admins. Once per key.

        When nothing is left the whole order is refunded. Raises OrderNotFound, OrderNotRefundable, RefundTooLarge,
        RefundInvalid, IdempotencyKeyReused.
        """
        order = await self.order(principal, order_id)
        if not sells(principal, order):
            raise OrderNotFound
        # Who sells acts as a seller here, also on what they bought themselves.
        who: Who = "merchant" if principal.role == "merchant" else "support"
        actor, now_ms = actor_of(principal), self._platform.clock.now_ms()

        def create(tx: Tx) -> Refunded:
            return refund(tx, order_id, asked, who, actor, now_ms)

        scope = f"refund:{order_id}:{principal.account_id}"
        await self._database.write(lambda tx: once(tx, scope, key, asked, Refunded, now_ms, lambda: create(tx)))
        self._platform.wakeups.wake(NAME)
        return await self._find(order_id)

    # --- books --------------------------------------------------------------------------------------------------

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms = self._platform.clock.now_ms()
        return await self._database.read(lambda tx: books.checks(tx, now_ms))

    async def order_facts(self, after: int = 0) -> AsyncIterator[Sequence[OrderFact]]:
        """See contracts.audit.AuditsOrders."""
        while True:
            page = await self._database.read(
                lambda tx, after=after: asking_back.less_returned(tx, store.page_of_facts(tx, after, FACTS_PAGE))
            )
            if page:
                yield page
                after = page[-1].order_id
            if len(page) < FACTS_PAGE:
                return

    async def order_facts_of(self, order_ids: Sequence[int]) -> Sequence[OrderFact]:
        """See contracts.audit.AuditsOrders."""
        return await self._database.read(lambda tx: asking_back.less_returned(tx, store.facts_of(tx, order_ids)))
