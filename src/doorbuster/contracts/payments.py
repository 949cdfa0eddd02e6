"""Payments: money in through a provider, money back, and a ledger of both. Knows orders by their id only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.kernel.errors import Conflict, NotFound, Unprocessable
from doorbuster.kernel.errors import Invalid as InvalidRequest
from doorbuster.kernel.events import Event
from doorbuster.kernel.money import Money

PaymentStatus = Literal["in_progress", "pending", "captured", "failed", "cancelled", "refunding", "refunded"]
Closed = Literal["closed", "captured", "unknown"]
CLOSE_MAX = 500
"""How many orders `close_open` takes at once."""


class PaymentNotFound(NotFound):
    slug = "payment-not-found"
    title = "There is no such payment"


class StatementTooLong(Unprocessable):
    slug = "statement-too-long"
    title = "A statement of this length is not compared at once"


class PaymentAmountInvalid(InvalidRequest):
    slug = "payment-amount-invalid"
    title = "Only an amount above zero can be paid"


class PaymentMethodInvalid(InvalidRequest):
    slug = "payment-method-invalid"
    title = "This is not the token of a payment method"


class PaymentInProgress(Conflict):
    slug = "payment-in-progress"
    title = "The same request is being worked on; ask again in a moment"


class PaymentOpen(Conflict):
    """`payment_id` tells which."""

    slug = "payment-open"
    title = "Another payment of this order is open"


class AlreadyPaid(Conflict):
    """`payment_id` tells by what."""

    slug = "already-paid"
    title = "This order has been paid"


class PaymentClosed(Conflict):
    """The key belongs to a payment that was closed before it could be offered; another key opens a new one."""

    slug = "payment-closed"
    title = "This payment was closed before it could be paid"


class PaymentRefused(Unprocessable):
    slug = "payment-refused"
    title = "The payment provider does not take this payment"


class WebhookSignatureInvalid(InvalidRequest):
    slug = "webhook-signature-invalid"
    title = "The signature of this callback is not valid"


class WebhookStale(InvalidRequest):
    slug = "webhook-stale"
    title = "This callback was signed too long ago, or in the future"


class WebhookInvalid(InvalidRequest):
    slug = "webhook-invalid"
    title = "This callback is signed, but it is not one we can read"


class ProviderNotFound(NotFound):
    slug = "provider-not-found"
    title = "No such payment provider is connected"


class Payment(Struct, frozen=True):
    """`declined` is the provider's reason, a slug, when the method that came with the request was declined."""

    id: int
    order_id: int
    customer_id: int
    provider: str
    status: PaymentStatus
    amount: Money
    checkout_url: str | None
    created_ms: int
    declined: str | None = None


class PaymentCaptured(Event, frozen=True, tag="payments.captured"):
    payment_id: int
    order_id: int
    amount: Money
    captured_ms: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class PaymentRefunded(Event, frozen=True, tag="payments.refunded"):
    """`amount` went back because of `cause`, that of the RefundRequested. `whole`: nothing of the payment is left."""

    payment_id: int
    order_id: int
    amount: Money
    cause: str
    whole: bool
    refunded_ms: int

    @property
    def aggregate_id(self) -> int:
        return self.order_id


class Payments(Protocol):
    async def create(
        self, order_id: int, customer_id: int, amount: Money, key: str, method: str | None = None
    ) -> Payment:
        """Opens a payment with the provider. The caller has checked that the order may be paid.

        With `method` (the token of a payment method, as the provider's own page hands out) the provider is asked to
        confirm at once: the answer may then be "captured" already, or "failed" (`declined` says why; the shopper may
        try another method at `checkout_url`, or with another key), or "pending" where the shopper has more to do.

        `in_progress` is committed first and the payment's id is the provider's idempotency key, so a crash or a
        lost answer repeats nothing. The same key gets the same answer again ("pending", whatever came after; with a
        method what has come of it).
        A payment that was declined is closed with the provider before another one is opened.

        Raises PaymentInProgress (a duplicate runs), PaymentOpen (another key), AlreadyPaid, PaymentClosed,
        PaymentRefused (the provider, for good), PaymentAmountInvalid, PaymentMethodInvalid, IdempotencyKeyReused,
        Unavailable (the provider; ask again with the same key).
        """
        ...

    async def opened_with(self, order_id: int, key: str) -> Payment | None:
        """What `create` answered to this key, if it ever did; for an order that may not be paid any more."""
        ...

    async def close_open(self, order_ids: Sequence[int]) -> Mapping[int, Closed]:
        """Makes sure that no payment of these orders can be captured any more, by asking the provider.

        A declined payment counts as open: its shopper may try another card. Per order: "closed" (nothing open,
        nothing captured), "captured" (the money is in; settled and announced), "unknown" (the provider cannot be
        reached: ask again later). At most CLOSE_MAX ids. Never raises for the provider.
        """
        ...
