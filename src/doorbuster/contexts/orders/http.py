"""Orders over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct, field

from doorbuster.contexts.orders.model import RefundAsked, RefundLine
from doorbuster.contexts.orders.service import OrdersService
from doorbuster.contracts.inventory import LINES_MAX
from doorbuster.contracts.orders import Fulfilment, Line, Move, Order, Status
from doorbuster.contracts.payments import Payment, PaymentStatus
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.money import AMOUNT_MAX
from doorbuster.kernel.principal import ROLES
from doorbuster.platform.http.faces import (
    AnyRequest,
    IdText,
    MoneyBody,
    TimeText,
    allow,
    idempotency_key_of,
    principal_of,
)
from doorbuster.platform.http.places import DestinationBody
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

SHOPPERS = ROLES
"""A guest looks after an order like anybody else."""
QUANTITY_MAX = 1000
TEXT_PATTERN = r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z"
"""One line that can be shown: no control characters, and nothing that is no character."""


class PayBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What the payer believes to owe: it must be the order's total.

    With `method`, the token of a payment method, it is charged at once; without, the payer pays at `checkout_url`.
    """

    amount: MoneyBody
    method: Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[!-~]+\Z")] | None = None


class RefundLineBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Units of the order's line number `n`, from 1."""

    n: Annotated[int, Meta(ge=1, le=LINES_MAX)]
    quantity: Annotated[int, Meta(ge=1, le=QUANTITY_MAX)]


class RefundBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Units of lines, an `amount` in minor units, or both (then that counts). `restock`: the units are in stock."""

    lines: Annotated[list[RefundLineBody], Meta(max_length=LINES_MAX)] = []
    amount: Annotated[int, Meta(ge=1, le=AMOUNT_MAX)] | None = None
    restock: bool = False
    reason: Annotated[str, Meta(max_length=200, pattern=TEXT_PATTERN)] = ""

    def asked(self) -> RefundAsked:
        lines = tuple(RefundLine(line.n, line.quantity) for line in self.lines)
        return RefundAsked(lines, self.amount, self.restock, self.reason)


class OrderLineView(Struct, frozen=True):
    sku_id: IdText
    title: str
    quantity: int
    unit_price: MoneyBody

    @classmethod
    def of(cls, line: Line) -> OrderLineView:
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
    """`total` is lines and shipping less discount; `refunded` is what was asked back of it so far."""

    id: IdText
    merchant_id: IdText
    fulfilment: Fulfilment
    status: Status
    lines: list[OrderLineView]
    shipping: MoneyBody
    discount: MoneyBody
    total: MoneyBody
    refunded: MoneyBody
    created_at: TimeText
    pay_by: TimeText
    sale_id: IdText | None
    payment_id: IdText | None
    destination: DestinationBody | None
    note: str
    history: list[MoveView]

    @classmethod
    def of(cls, order: Order) -> OrderView:
        return cls(
            str(order.id),
            str(order.merchant_id),
            order.fulfilment,
            order.status,
            [OrderLineView.of(line) for line in order.lines],
            MoneyBody.of(order.shipping),
            MoneyBody.of(order.discount),
            MoneyBody.of(order.total),
            MoneyBody.of(order.refunded),
            rfc3339(order.created_ms),
            rfc3339(order.pay_by_ms),
            None if order.sale_id is None else str(order.sale_id),
            None if order.payment_id is None else str(order.payment_id),
            None if order.destination is None else DestinationBody.of(order.destination),
            order.note,
            [MoveView.of(move) for move in order.history],
        )


class OrderPage(Struct, frozen=True):
    """Without histories; read an order for its own."""

    items: list[OrderView]
    next_cursor: str | None


class OpenedPayment(Struct, frozen=True):
    """Send the payer to `checkout_url`, unless it is captured. `declined` is the provider's reason, if it said no."""

    id: IdText
    order_id: IdText
    status: PaymentStatus
    amount: MoneyBody
    checkout_url: str | None
    declined: str | None

    @classmethod
    def of(cls, payment: Payment) -> OpenedPayment:
        return cls(
            str(payment.id),
            str(payment.order_id),
            payment.status,
            MoneyBody.of(payment.amount),
            payment.checkout_url,
            payment.declined,
        )


def routes(service: OrdersService) -> list[ControllerRouterHandler]:
    @get("/v1/orders", guards=[allow(*SHOPPERS)], tags=["orders"], summary="One's own orders, newest first")
    async def list_orders(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> OrderPage:
        before = decode_cursor(cursor) if cursor is not None else None
        page = await service.orders(principal_of(request), before, checked_limit(limit))
        items = [OrderView.of(order) for order in page.items]
        return OrderPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get("/v1/orders/{order_id:str}", guards=[allow(*SHOPPERS)], tags=["orders"], summary="An order and its history")
    async def get_order(request: AnyRequest, order_id: FromPath[str]) -> OrderView:
        return OrderView.of(await service.order(principal_of(request), parse_id(order_id)))

    @post(
        "/v1/orders/{order_id:str}/cancel",
        status_code=200,
        guards=[allow(*SHOPPERS)],
        tags=["orders"],
        summary="Cancel an order; a paid one is refunded",
    )
    async def cancel_order(request: AnyRequest, order_id: FromPath[str]) -> OrderView:
        return OrderView.of(await service.cancel(principal_of(request), parse_id(order_id)))

    @post(
        "/v1/orders/{order_id:str}/payments",
        status_code=201,
        guards=[allow(*SHOPPERS)],
        tags=["payments"],
        summary="Open a payment of an order",
    )
    async def create_payment(request: AnyRequest, order_id: FromPath[str], data: JSONBody[PayBody]) -> OpenedPayment:
        key = idempotency_key_of(request)
        payment = await service.pay(principal_of(request), parse_id(order_id), key, data.amount.money(), data.method)
        return OpenedPayment.of(payment)

    @put(
        "/v1/orders/{order_id:str}/destination",
        guards=[allow(*SHOPPERS)],
        tags=["orders"],
        summary="Say where it goes, until it is sent off",
    )
    async def change_destination(
        request: AnyRequest, order_id: FromPath[str], data: JSONBody[DestinationBody]
    ) -> OrderView:
        order = await service.change_destination(principal_of(request), parse_id(order_id), data.destination())
        return OrderView.of(order)

    @post(
        "/v1/orders/{order_id:str}/receive",
        status_code=200,
        guards=[allow(*SHOPPERS)],
        tags=["orders"],
        summary="Confirm that the parcel has arrived",
    )
    async def receive_order(request: AnyRequest, order_id: FromPath[str]) -> OrderView:
        return OrderView.of(await service.receive(principal_of(request), parse_id(order_id)))

    @post(
        "/v1/orders/{order_id:str}/refunds",
        status_code=201,
        guards=[allow("merchant", "support", "admin")],
        tags=["orders"],
        summary="Give some or all of the money back",
    )
    async def refund_order(request: AnyRequest, order_id: FromPath[str], data: JSONBody[RefundBody]) -> OrderView:
        key = idempotency_key_of(request)
        return OrderView.of(await service.refund(principal_of(request), parse_id(order_id), key, data.asked()))

    @get(
        "/v1/merchant/orders",
        guards=[allow("merchant", "support", "admin")],
        tags=["orders"],
        summary="Orders to fulfil, newest first",
    )
    async def orders_to_fulfil(
        request: AnyRequest,
        status: FromQuery[Status] = "paid",
        merchant_id: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
    ) -> OrderPage:
        """`merchant_id` is for support and admins."""
        page = await service.orders_to_fulfil(
            principal_of(request),
            None if merchant_id is None else parse_id(merchant_id),
            status,
            decode_cursor(cursor) if cursor is not None else None,
            checked_limit(limit),
        )
        items = [OrderView.of(order) for order in page.items]
        return OrderPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    return [
        list_orders,
        get_order,
        cancel_order,
        create_payment,
        change_destination,
        receive_order,
        refund_order,
        orders_to_fulfil,
    ]
