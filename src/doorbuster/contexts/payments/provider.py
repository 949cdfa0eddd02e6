"""The port to a payment provider. Every call is idempotent by an id of ours, so it may be repeated at will.

An adapter checks the shape of every answer; whether it agrees with our row is the model's business
(`require_agreement`). What cannot be understood or reached is `kernel.errors.Unavailable`: nobody knows whether it
took effect, and asking again with the same id tells.
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from doorbuster.contexts.payments.model import Intent, IntentStatus
from doorbuster.kernel.money import Money


class ProviderRefused(Exception):
    """The provider understood and says no, for good."""

    def __init__(self, what: str, status: int, slug: str) -> None:
        super().__init__(f"{what}: {status} {slug}")
        self.slug = slug


class IntentUnknown(Exception):
    """The provider has never heard of this payment."""


class Opened(Struct, frozen=True):
    """An intent that exists at the provider. The shopper pays at `checkout_url`."""

    reference: str
    status: IntentStatus
    checkout_url: str


class StatementLine(Struct, frozen=True):
    """A movement of money as the provider booked it. Ids are text: they need not be ours."""

    kind: Literal["capture", "refund"]
    payment_id: str
    order_id: str
    refund_id: str | None
    amount: int
    currency: str
    at_ms: int


class StatementPage(Struct, frozen=True):
    """`next_after` is None on the last page."""

    lines: tuple[StatementLine, ...]
    next_after: str | None


class Provider(Protocol):
    """A payment provider. All methods raise Unavailable."""

    @property
    def name(self) -> str:
        """As in the address of its webhooks, and in our rows."""
        ...

    async def create_intent(self, payment_id: int, order_id: int, amount: Money) -> Opened:
        """Opens an intent, or returns the one this id opened before. Raises ProviderRefused."""
        ...

    async def get_intent(self, payment_id: int) -> Intent:
        """Raises IntentUnknown."""
        ...

    async def cancel_intent(self, payment_id: int) -> Intent:
        """From now on it is never captured, unless the answer says that it was already. Raises IntentUnknown."""
        ...

    async def refund(self, refund_id: int, payment_id: int, amount: Money) -> None:
        """Gives `amount` back, once per `refund_id`. Raises ProviderRefused."""
        ...

    async def statement(self, after: str | None, limit: int) -> StatementPage:
        """Captures and refunds in the order in which they were booked."""
        ...

    async def close(self) -> None: ...
