"""The wire format of the provider. Amounts are minor units, times are RFC 3339 UTC or unix milliseconds."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

AMOUNT_MAX = 10**12
STATEMENT_LIMIT_MAX = 500

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Amount = Annotated[int, Meta(ge=1, le=AMOUNT_MAX)]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
WebhookUrl = Annotated[str, Meta(pattern=r"^https?://[!-~]+\Z", max_length=2048)]

IntentStatus = Literal["requires_payment", "captured", "failed", "refunded", "cancelled"]
Outcome = Literal["success", "decline"]
EventType = Literal["payment.captured", "payment.failed", "refund.succeeded"]


Method = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,64}\Z")]
MethodOutcome = Literal["success", "decline", "action"]

METHODS: dict[str, tuple[MethodOutcome, str]] = {
    "pm_card_visa": ("success", ""),
    "pm_card_mastercard": ("success", ""),
    "pm_card_declined": ("decline", "card_declined"),
    "pm_card_chargeDeclined": ("decline", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("decline", "insufficient_funds"),
    "pm_card_authenticationRequired": ("action", ""),
}
"""What comes of confirming with a method, and the code of a decline. Others are refused."""


class IntentRequest(Struct, frozen=True):
    """Ask for a payment; ``id`` is the merchant's payment id and the idempotency key.

    With ``method`` it is confirmed in the same go, the first time.
    """

    id: Id
    order_id: Id
    amount: Amount
    currency: Currency
    webhook_url: WebhookUrl
    method: Method | None = None


class Intent(Struct, frozen=True):
    """A payment as the provider sees it; ``captured`` and ``refunded`` are minor units."""

    id: str
    reference: str
    status: IntentStatus
    order_id: str
    amount: int
    currency: str
    captured: int
    refunded: int


class IntentCreated(Intent, frozen=True, kw_only=True):
    """The intent as it is now, and where the shopper pays; ``decline`` says why it was declined."""

    checkout_url: str
    decline: str | None = None


class ConfirmRequest(Struct, frozen=True):
    """What the shopper's browser sends."""

    outcome: Outcome


class RefundRequest(Struct, frozen=True):
    """Ask for money back; ``id`` is the merchant's refund id and the idempotency key."""

    id: Id
    payment_id: Id
    amount: Amount
    currency: Currency


class RefundDone(Struct, frozen=True):
    """The refund has happened."""

    id: str
    status: Literal["succeeded"] = "succeeded"


class RefundItem(Struct, frozen=True):
    """A refund that was made."""

    id: str
    amount: int
    currency: str


class RefundItems(Struct, frozen=True):
    """The refunds of an intent, oldest first."""

    items: list[RefundItem]


class StatementItem(Struct, frozen=True):
    """One movement of money, in the order in which it became durable."""

    kind: Literal["capture", "refund"]
    payment_id: str
    order_id: str
    refund_id: str | None
    amount: int
    currency: str
    at: str


class StatementPage(Struct, frozen=True):
    """A page; ``next_cursor`` is null on the last one."""

    items: list[StatementItem]
    next_cursor: str | None


class EventData(Struct, frozen=True):
    """The subject of an event; ``amount`` is that of the refund for a refund."""

    payment_id: str
    order_id: str
    reference: str
    amount: int
    currency: str
    refund_id: str | None


class Event(Struct, frozen=True):
    """The body of a webhook; ``created`` is unix milliseconds."""

    id: str
    type: EventType
    created: int
    data: EventData


def rfc3339(unix_ms: int) -> str:
    """``unix_ms`` as "2026-11-21T02:00:00.123Z"."""
    moment = datetime.datetime.fromtimestamp(unix_ms // 1000, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{unix_ms % 1000:03d}Z"


encode = msgspec.json.encode
