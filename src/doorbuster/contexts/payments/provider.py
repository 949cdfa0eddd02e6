"""The port to a payment provider. Every call is idempotent by an id of ours, so it may be repeated at will.

An adapter checks the shape of every answer; whether it agrees with our row is the model's business
(`require_agreement`). What cannot be understood or reached is `kernel.errors.Unavailable`: nobody knows whether it
took effect, and asking again with the same id tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.contexts.payments.model import Intent, PaymentRecord, RefundRecord
from doorbuster.kernel.clock import Instant

CONFLICT = "idempotency-conflict"
"""The slug of a refusal because this id came before with another request: the provider knows it then."""


class ProviderRefused(Exception):
    """The provider understood and says no, for good."""

    def __init__(self, what: str, status: int, slug: str) -> None:
        super().__init__(f"{what}: {status} {slug}")
        self.slug = slug


class IntentUnknown(Exception):
    """The provider has never heard of this payment."""


class Opened(Struct, frozen=True):
    """An intent that exists at the provider, as it is now. The shopper pays at `checkout_url`.

    `decline`: the method that came with the request was declined, for this reason (a slug).
    """

    intent: Intent
    checkout_url: str
    decline: str | None = None


class MadeRefund(Struct, frozen=True):
    """A refund as the provider has made it. `refund_id` is text: it need not be ours."""

    refund_id: str
    amount: int
    currency: str


class StatementLine(Struct, frozen=True):
    """A movement of money as the provider booked it. Ids are text: they need not be ours."""

    kind: Literal["capture", "refund"]
    payment_id: str
    order_id: str
    refund_id: str | None
    amount: int
    currency: str
    at_ms: Instant


class StatementPage(Struct, frozen=True):
    """`next_after` is None on the last page."""

    lines: tuple[StatementLine, ...]
    next_after: str | None


class Period(Struct, frozen=True):
    """From `from_ms` up to, not including, `until_ms`; whole seconds."""

    from_ms: Instant
    until_ms: Instant


class Provider(Protocol):
    """A payment provider. All methods raise Unavailable.

    They get our rows; a `reference` that a row does not have yet is what the provider answered to our own id.
    """

    @property
    def name(self) -> str:
        """As in the address of its webhooks, and in our rows."""
        ...

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        """Opens an intent, or returns the one this id opened before. With `method` it is confirmed in the same go, if
        this is the request that opens it. Raises ProviderRefused (CONFLICT: opened before by a request with another
        method, by a provider who minds)."""
        ...

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        """Raises IntentUnknown."""
        ...

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        """From now on it is never captured, unless the answer says that it was already. Raises IntentUnknown."""
        ...

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        """Gives the refund's amount back, once per refund id. Raises ProviderRefused."""
        ...

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        """The refunds of a payment that it has made. Raises IntentUnknown."""
        ...

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        """Captures and refunds in the order in which they were booked, or the reverse; what is booked while pages are
        read may be missing. `period` leaves out the others."""
        ...

    async def close(self) -> None: ...
