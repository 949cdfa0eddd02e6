"""The objects of the payment intents protocol, as far as we read them. Fields that we do not know are left alone.

Amounts are minor units, currencies lower case, times Unix seconds. `metadata` carries our ids through the provider.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import AMOUNT_MAX

ObjectId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,255}\Z")]
Code = Annotated[str, Meta(max_length=128)]
Amount = Annotated[int, Meta(ge=0, le=AMOUNT_MAX)]
SignedAmount = Annotated[int, Meta(ge=-AMOUNT_MAX, le=AMOUNT_MAX)]
LowerCurrency = Annotated[str, Meta(pattern=r"^[a-z]{3}\Z")]
UnixSeconds = Annotated[int, Meta(ge=0, le=ID_MAX // 1000)]
Metadata = Annotated[dict[str, Annotated[str, Meta(max_length=500)]], Meta(max_length=64)]

ProviderStatus = Literal[
    "requires_payment_method",
    "requires_confirmation",
    "requires_action",
    "requires_capture",
    "processing",
    "succeeded",
    "canceled",
]


class PaymentError(Struct, frozen=True):
    code: Code | None = None
    decline_code: Code | None = None


class Charge(Struct, frozen=True):
    id: ObjectId
    amount: Amount
    amount_refunded: Amount
    currency: LowerCurrency
    created: UnixSeconds = 0
    payment_intent: ObjectId | None = None
    metadata: Metadata = field(default_factory=dict)


class PaymentIntent(Struct, frozen=True):
    """`latest_charge` is an object because we ask for it to be expanded; a callback names its id only."""

    id: ObjectId
    status: ProviderStatus
    amount: Amount
    amount_received: Amount
    currency: LowerCurrency
    metadata: Metadata
    latest_charge: Charge | ObjectId | None = None
    last_payment_error: PaymentError | None = None


class Refund(Struct, frozen=True):
    id: ObjectId
    amount: Amount
    currency: LowerCurrency
    status: Literal["pending", "requires_action", "succeeded", "failed", "canceled"]
    created: UnixSeconds = 0
    payment_intent: ObjectId | None = None
    metadata: Metadata = field(default_factory=dict)


class RefundList(Struct, frozen=True):
    data: Annotated[list[Refund], Meta(max_length=100)]
    has_more: bool = False


class Source(Struct, frozen=True):
    """What a movement is about: a charge or a refund, expanded."""

    id: ObjectId
    object: Annotated[str, Meta(max_length=64)]
    payment_intent: ObjectId | None = None
    metadata: Metadata = field(default_factory=dict)


class BalanceTransaction(Struct, frozen=True):
    id: ObjectId
    type: Annotated[str, Meta(max_length=64)]
    amount: SignedAmount
    currency: LowerCurrency
    created: UnixSeconds
    source: Source | ObjectId | None = None


class BalanceTransactionList(Struct, frozen=True):
    data: Annotated[list[BalanceTransaction], Meta(max_length=100)]
    has_more: bool


class ErrorBody(Struct, frozen=True):
    type: Annotated[str, Meta(max_length=64)] = ""
    code: Code | None = None
    decline_code: Code | None = None
    payment_intent: PaymentIntent | None = None


class ErrorAnswer(Struct, frozen=True):
    error: ErrorBody
