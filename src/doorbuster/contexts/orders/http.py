"""Orders over HTTP."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Struct, field

from doorbuster.contexts.orders.service import OrdersService
from doorbuster.contracts.orders import Line, Move, Order, Status
from doorbuster.contracts.payments import Payment, PaymentStatus
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    MoneyBody,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
)
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor


class PayBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What the payer believes to owe: it must be the order's total."""

    amount: MoneyBody


class LineView(Struct, frozen=True):
    sku_id: IdText
    title: str
    quantity: int
    unit_price: MoneyBody

    @classmethod
    def of(cls, line: Line) -> LineView:
        return cls(str(line.sku_id), line.title, line.quantity, MoneyBody.of(line.unit_price))


class MoveView(Struct, frozen=True):
    """A step in the order's life; `from` is null for its beginning."""

    at: TimeText
    to: Status
    actor: str
    cause: str
    from_status: Status | None = field(name="from", default=None)

    @classmethod
    def of(cls, move: Move) -> MoveView:
        actor = "account" if move.actor.startswith("account ") else move.actor
        return cls(rfc3339(move.at_ms), move.to_status, actor, move.cause, move.from_status)


class OrderView(Struct, frozen=True):
    id: IdText
    status: Status
    lines: list[LineView]
    total: MoneyBody
    created_at: TimeText
    pay_by: TimeText
    sale_id: IdText | None
    payment_id: IdText | None
    history: list[MoveView]

    @classmethod
    def of(cls, order: Order) -> OrderView:
        return cls(
            str(order.id),
            order.status,
            [LineView.of(line) for line in order.lines],
            MoneyBody.of(order.total),
            rfc3339(order.created_ms),
            rfc3339(order.pay_by_ms),
            None if order.sale_id is None else str(order.sale_id),
            None if order.payment_id is None else str(order.payment_id),
            [MoveView.of(move) for move in order.history],
        )


class OrderPage(Struct, frozen=True):
    """Without histories; read an order for its own."""

    items: list[OrderView]
    next_cursor: str | None


class OpenedPayment(Struct, frozen=True):
    """Send the payer to `checkout_url`."""

    id: IdText
    order_id: IdText
    status: PaymentStatus
    amount: MoneyBody
    checkout_url: str | None

    @classmethod
    def of(cls, payment: Payment) -> OpenedPayment:
        return cls(
            str(payment.id),
            str(payment.order_id),
            payment.status,
            MoneyBody.of(payment.amount),
            payment.checkout_url,
        )


def routes(service: OrdersService) -> list[ControllerRouterHandler]:
    @get("/v1/orders", guards=[allow()], tags=["orders"], summary="One's own orders, newest first")
    async def list_orders(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> OrderPage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.orders(principal_of(request), before, checked_limit(limit))
        items = [OrderView.of(order) for order in page.items]
        return OrderPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get("/v1/orders/{order_id:str}", guards=[allow()], tags=["orders"], summary="An order and its history")
    async def get_order(request: AnyRequest, order_id: FromPath[str]) -> OrderView:
        return OrderView.of(await service.order(principal_of(request), parse_id(order_id)))

    @post(
        "/v1/orders/{order_id:str}/cancel",
        status_code=200,
        guards=[allow()],
        tags=["orders"],
        summary="Cancel an order; a paid one is refunded",
    )
    async def cancel_order(request: AnyRequest, order_id: FromPath[str]) -> OrderView:
        return OrderView.of(await service.cancel(principal_of(request), parse_id(order_id)))

    @post(
        "/v1/orders/{order_id:str}/payments",
        status_code=201,
        guards=[allow()],
        tags=["payments"],
        summary="Open a payment of an order",
    )
    async def create_payment(request: AnyRequest, order_id: FromPath[str], data: JSONBody[PayBody]) -> OpenedPayment:
        key = idempotency_key_of(request)
        payment = await service.pay(principal_of(request), parse_id(order_id), key, data.amount.money())
        return OpenedPayment.of(payment)

    return [list_orders, get_order, cancel_order, create_payment]
