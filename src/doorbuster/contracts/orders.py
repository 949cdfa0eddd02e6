"""Orders: what somebody bought, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.kernel.cause import Cause
from doorbuster.kernel.errors import Conflict, Forbidden, Invalid, NotFound, Unprocessable
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money
from doorbuster.kernel.places import Destination

Fulfilment = Literal["parcel", "takeout"]
Status = Literal["pending_payment", "paid", "shipped", "delivering", "completed", "cancelled", "refunding", "refunded"]
CancelCause = Literal["payment-deadline", "customer", "merchant", "support", "checkout-failed", "out-of-stock"]


class OrderNotFound(NotFound):
    slug = "order-not-found"
    title = "There is no such order"


class OrderNotPayable(Conflict):
    slug = "order-not-payable"
    title = "This order cannot be paid any more"


class OrderNotCancellable(Conflict):
    slug = "order-not-cancellable"
    title = "This order cannot be cancelled any more"


class OrderNotShippable(Conflict):
    """It is not paid, was refunded or cancelled, or is on its way already. `status` tells."""

    slug = "order-not-shippable"
    title = "This order cannot be sent off now"


class OrderNotCompletable(Conflict):
    slug = "order-not-completable"
    title = "This order is not on its way"


class OrderNotRefundable(Conflict):
    slug = "order-not-refundable"
    title = "There is nothing of this order that can be refunded now"


class RefundTooLarge(Unprocessable):
    """`refundable` tells how much is left, in minor units."""

    slug = "refund-too-large"
    title = "More than was paid cannot be refunded"


class RefundInvalid(Invalid):
    slug = "refund-invalid"
    title = "A refund cannot look like this"


class DestinationFixed(Conflict):
    slug = "destination-fixed"
    title = "The order is on its way; its destination cannot be changed any more"


class NotYourOrder(Forbidden):
    slug = "not-your-order"
    title = "This order is for another merchant to fulfil"


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
    """`total` = lines + `shipping` - `discount`. An order of a sale has a `sale_id`; others were placed by checkout.

    `merchant_id` fulfils it. `refunded` is what has been asked back so far, in all; the whole order is refunded when
    its status says so.
    """

    id: int
    customer_id: int
    merchant_id: int
    sale_id: int | None
    fulfilment: Fulfilment
    status: Status
    lines: tuple[Line, ...]
    shipping: Money
    discount: Money
    total: Money
    refunded: Money
    created_ms: int
    pay_by_ms: int
    payment_id: int | None
    destination: Destination | None = None
    contact_email: str | None = None
    note: str = ""
    history: tuple[Move, ...] = ()


class OrderDraft(Struct, frozen=True):
    """What checkout places: priced, held, and with an id of its own, which makes placing it idempotent."""

    id: int
    customer_id: int
    merchant_id: int
    fulfilment: Fulfilment
    lines: tuple[Line, ...]
    shipping: Money
    discount: Money
    destination: Destination
    contact_email: str | None
    note: str
    created_ms: int
    pay_by_ms: int
    cause: Cause | None = None
    """The request that began the checkout: orders tell of it, also if somebody else carried the checkout on."""


class OrderPlaced(Event, frozen=True, tag="orders.placed"):
    """Checkout placed an order (an order of a sale is told by its claim)."""

    order_id: int
    customer_id: int
    merchant_id: int
    total: Money

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class PaidLine(Struct, frozen=True):
    """Units of an order that leave the stock, or come back to it."""

    sku_id: int
    quantity: int


class OrderPaid(Event, frozen=True, tag="orders.paid"):
    """Paid in full: what was held is sold, and the merchant may send it off."""

    order_id: int
    customer_id: int
    payment_id: int
    total: Money
    merchant_id: int
    sale_id: int | None
    fulfilment: Fulfilment
    lines: tuple[PaidLine, ...]
    destination: Destination | None

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderCancelled(Event, frozen=True, tag="orders.cancelled"):
    """The goods go back to where they came from. `was_paid`: they had been sold already, and money goes back too."""

    order_id: int
    customer_id: int
    sale_id: int | None
    cause: str
    was_paid: bool
    lines: tuple[PaidLine, ...]

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class RefundRequested(Event, frozen=True, tag="orders.refund-requested"):
    """`amount` of the payment is to be given back, once per (`payment_id`, `cause`), however often this arrives."""

    order_id: int
    payment_id: int
    amount: Money
    cause: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderRefunded(Event, frozen=True, tag="orders.refunded"):
    """The money of the whole order has gone back."""

    order_id: int
    customer_id: int
    payment_id: int
    amount: Money

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderPartlyRefunded(Event, frozen=True, tag="orders.partly-refunded"):
    """Some of the money has gone back; the order goes on. `refund` counts the order's partial refunds from 1."""

    order_id: int
    customer_id: int
    refund: int
    amount: Money

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class GoodsReturned(Event, frozen=True, tag="orders.goods-returned"):
    """Units of an order that had left are back in the warehouse. `refund` is the refund they came with; 0: the whole
    order's."""

    order_id: int
    refund: int
    lines: tuple[PaidLine, ...]

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderShipped(Event, frozen=True, tag="orders.shipped"):
    """The order is on its way, as a parcel (`status` "shipped") or with a courier ("delivering")."""

    order_id: int
    customer_id: int
    status: Status

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class OrderCompleted(Event, frozen=True, tag="orders.completed"):
    """Received by the customer. `cause`: "received", "delivered", or "automatic" after some days."""

    order_id: int
    customer_id: int
    cause: str

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class Orders(Protocol):
    """What checkout, delivery, notifications and support ask of orders. Callers have checked whose order it is."""

    async def place_many(self, drafts: Sequence[OrderDraft]) -> Sequence[Order | Exception]:
        """An outcome per draft: the order, unpaid, or why not: Overloaded, Unavailable, OutcomeUnknown. Idempotent by
        id, whatever has become of the order since."""
        ...

    async def cancel_unpaid(self, order_id: int, cause: CancelCause) -> Order | None:
        """Cancels the order if it is unpaid (its payment is closed first) and returns it as it stands then; None if it
        was never placed. Raises Unavailable."""
        ...

    async def find_many(self, order_ids: Sequence[int]) -> Sequence[Order]:
        """Those that exist, without history, in order of id. At most 1000 ids."""
        ...

    async def send_off(self, order_id: int, actor: str, cause: str) -> Order:
        """paid → shipped (a parcel) or delivering (takeout): from now on it cannot be cancelled. The same `cause` may
        ask again. One of this and a refund wins. Raises OrderNotFound, OrderNotShippable."""
        ...

    async def complete(self, order_id: int, actor: str, cause: str) -> Order:
        """shipped or delivering → completed. Idempotent. Raises OrderNotFound, OrderNotCompletable."""
        ...
