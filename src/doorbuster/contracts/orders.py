"""Orders: what somebody bought, and how far it has come."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from doorbuster.kernel.errors import Conflict, NotFound, Unprocessable
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money

Status = Literal["pending_payment", "paid", "shipped", "delivering", "completed", "cancelled", "refunding", "refunded"]
CancelCause = Literal["payment-deadline", "customer", "support"]


class OrderNotFound(NotFound):
    slug = "order-not-found"
    title = "There is no such order"


class OrderNotPayable(Conflict):
    slug = "order-not-payable"
    title = "This order cannot be paid any more"


class OrderNotCancellable(Conflict):
    slug = "order-not-cancellable"
    title = "This order cannot be cancelled any more"


class PaymentMismatch(Unprocessable):
    slug = "payment-mismatch"
    title = "Order, amount or currency of the payment is not that of the order"


class Line(Struct, frozen=True):
    sku_id: int
    title: str
    quantity: int
    unit_price: Money


class Move(Struct, frozen=True):
    """A step in an order's life. `from_status` is None for its beginning."""

    at_ms: int
    from_status: Status | None
    to_status: Status
    actor: str
    cause: str


class Order(Struct, frozen=True):
    id: int
    customer_id: int
    sale_id: int | None
    status: Status
    lines: tuple[Line, ...]
    total: Money
    created_ms: int
    pay_by_ms: int
    payment_id: int | None
    history: tuple[Move, ...] = ()


class OrderPaid(Event, frozen=True, tag="orders.paid"):
    order_id: int
    customer_id: int
    payment_id: int
    total: Money

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderCancelled(Event, frozen=True, tag="orders.cancelled"):
    """The goods go back to where they came from, whether or not anything was paid."""

    order_id: int
    customer_id: int
    sale_id: int | None
    cause: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class RefundRequested(Event, frozen=True, tag="orders.refund-requested"):
    """The whole payment is to be given back. (`payment_id`) is refunded once, however often this arrives."""

    order_id: int
    payment_id: int
    amount: Money
    cause: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderRefunded(Event, frozen=True, tag="orders.refunded"):
    order_id: int
    payment_id: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id
