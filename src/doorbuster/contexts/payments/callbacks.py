"""What a provider's callback says, in our words. Each protocol reads its own; what is believed is decided elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from doorbuster.contexts.payments import signatures
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.stripe_objects import (
    Charge,
    PaymentIntent,
    Refund,
    UnixSeconds,
)
from doorbuster.contracts.payments import WebhookInvalid
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.ids import ID_MAX, parse_id

Claim = Literal["captured", "failed", "cancelled", "refunded", "some-refunded"]
"""What is said to have happened. "refunded" names its refund, "some-refunded" does not."""

_Id = Annotated[str, Meta(pattern=r"^[0-9]{1,19}\Z")]
_Text = Annotated[str, Meta(max_length=64, pattern=r"^[!-~]+\Z")]
_EventId = Annotated[str, Meta(max_length=255, pattern=r"^[!-~]+\Z")]


class Callback(Struct, frozen=True):
    """`amount` is the refund's for "refunded", else the payment's; `reference` the provider's id of the intent."""

    id: str
    type: str
    created_ms: Instant
    claim: Claim
    payment_id: int
    order_id: int
    reference: str
    amount: int
    currency: str
    refund_id: int | None


Read = Callable[[bytes], Callback | None]


class Door(Struct, frozen=True):
    """Where a provider's callbacks come in: the header that signs them, who checks it, and who reads them.

    `read` returns None for a kind of callback that we do nothing about, and raises WebhookInvalid, InvalidId.
    """

    header: str
    verifier: Verifier
    read: Read


def simulator_door(verifier: Verifier) -> Door:
    return Door(signatures.HEADER, verifier, read_simulator)


def stripe_door(verifier: Verifier) -> Door:
    return Door(signatures.STRIPE_HEADER, verifier, read_stripe)


# --- the simulator's own protocol -----------------------------------------------------------------------------------

_SIMULATOR_CLAIMS: dict[str, Claim] = {
    "payment.captured": "captured",
    "payment.failed": "failed",
    "refund.succeeded": "refunded",
}


class _Kind(Struct, frozen=True):
    id: _EventId
    type: _Text


class _SimulatorData(Struct, frozen=True):
    payment_id: _Id
    order_id: _Id
    reference: _Text
    amount: Annotated[int, Meta(ge=0, le=ID_MAX)]
    currency: _Text
    refund_id: _Id | None = None


class _SimulatorEvent(Struct, frozen=True):
    """`created` is Unix milliseconds. Fields that we do not know are left alone."""

    id: _Text
    type: _Text
    created: Annotated[int, Meta(ge=0, le=ID_MAX)]
    data: _SimulatorData


def read_simulator(body: bytes) -> Callback | None:
    try:
        kind = msgspec.json.decode(body, type=_Kind)
        claim = _SIMULATOR_CLAIMS.get(kind.type)
        if claim is None:
            return None
        event = msgspec.json.decode(body, type=_SimulatorEvent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookInvalid from error
    data = event.data
    return Callback(
        event.id,
        event.type,
        event.created,
        claim,
        parse_id(data.payment_id),
        parse_id(data.order_id),
        data.reference,
        data.amount,
        data.currency,
        None if data.refund_id is None else parse_id(data.refund_id),
    )


# --- payment intents, in the manner of Stripe -----------------------------------------------------------------------

_INTENT_CLAIMS: dict[str, Claim] = {
    "payment_intent.succeeded": "captured",
    "payment_intent.payment_failed": "failed",
    "payment_intent.canceled": "cancelled",
}
_REFUND_KINDS = ("refund.updated", "refund.created", "charge.refund.updated")


class _IntentBox(Struct, frozen=True):
    object: PaymentIntent


class _ChargeBox(Struct, frozen=True):
    object: Charge


class _RefundBox(Struct, frozen=True):
    object: Refund


class _StripeEvent(Struct, frozen=True):
    id: _EventId
    type: _Text
    created: UnixSeconds
    data: msgspec.Raw


def read_stripe(body: bytes) -> Callback | None:
    """Also None for objects without our metadata: the account may have other sources of money than this shop."""
    try:
        kind = msgspec.json.decode(body, type=_Kind)
        known = kind.type in _INTENT_CLAIMS or kind.type in _REFUND_KINDS or kind.type == "charge.refunded"
        return _read_stripe(msgspec.json.decode(body, type=_StripeEvent)) if known else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookInvalid from error


def _read_stripe(event: _StripeEvent) -> Callback | None:
    if event.type in _INTENT_CLAIMS:
        intent = msgspec.json.decode(event.data, type=_IntentBox).object
        return _of(event, _INTENT_CLAIMS[event.type], intent, intent.id, intent.amount)
    if event.type == "charge.refunded":
        charge = msgspec.json.decode(event.data, type=_ChargeBox).object
        return _of(event, "some-refunded", charge, charge.payment_intent, charge.amount)
    refund = msgspec.json.decode(event.data, type=_RefundBox).object
    if refund.status != "succeeded" or "refund_id" not in refund.metadata:
        return None
    return _of(event, "refunded", refund, refund.payment_intent, refund.amount)


def _of(
    event: _StripeEvent, claim: Claim, about: PaymentIntent | Charge | Refund, reference: str | None, amount: int
) -> Callback | None:
    ours = about.metadata
    if "payment_id" not in ours or "order_id" not in ours or reference is None:
        return None
    return Callback(
        event.id,
        event.type,
        event.created * 1000,
        claim,
        parse_id(ours["payment_id"]),
        parse_id(ours["order_id"]),
        reference,
        amount,
        about.currency.upper(),
        parse_id(ours["refund_id"]) if claim == "refunded" else None,
    )
