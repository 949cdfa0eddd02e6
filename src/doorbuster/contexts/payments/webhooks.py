"""Callbacks: verified, bound to a payment of ours, held against the provider itself, and applied once.

A callback is believed only as far as "look at this payment": what is settled is what the provider answers when it is
asked. So it does not matter how late, how often and in which order callbacks come.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from doorbuster.contexts.payments.model import Disagreement, Intent, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import IntentUnknown
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.store import webhooks as inbox
from doorbuster.contexts.payments.store.webhooks import SeenEvent
from doorbuster.contexts.payments.till import Till, log
from doorbuster.contracts.orders import PaymentMismatch
from doorbuster.contracts.payments import PaymentNotFound, PaymentStatus, WebhookInvalid
from doorbuster.kernel.ids import ID_MAX, parse_id
from doorbuster.platform.sql.database import Tx

KINDS = ("payment.captured", "payment.failed", "refund.succeeded")
CAPTURED = ("captured", "refunded")

_Id = Annotated[str, Meta(pattern=r"^[0-9]{1,19}\Z")]
_Text = Annotated[str, Meta(max_length=64, pattern=r"^[!-~]+\Z")]


class CallbackData(Struct, frozen=True):
    payment_id: _Id
    order_id: _Id
    reference: _Text
    amount: Annotated[int, Meta(ge=0, le=ID_MAX)]
    currency: _Text
    refund_id: _Id | None = None


class Callback(Struct, frozen=True):
    """The body; `created` is Unix milliseconds. Fields that we do not know are left alone."""

    id: _Text
    type: _Text
    created: Annotated[int, Meta(ge=0, le=ID_MAX)]
    data: CallbackData


class _Kind(Struct, frozen=True):
    id: _Text
    type: _Text


class _Bound(Struct, frozen=True):
    """What a callback is about, read from our rows."""

    payment: PaymentRecord
    refund: RefundRecord | None
    known: bool


class Webhooks:
    """Takes callbacks of the connected providers."""

    def __init__(self, till: Till, settling: Settling, verifier: Verifier) -> None:
        self._till = till
        self._settling = settling
        self._verifier = verifier

    async def receive(self, provider: str, signature: str | None, body: bytes) -> None:
        """Takes a callback in; returning means that it is settled and need not come again.

        Raises ProviderNotFound, WebhookSignatureInvalid, WebhookStale, WebhookInvalid, PaymentNotFound,
        PaymentMismatch (nothing is written), Unavailable (send it again).
        """
        self._till.provider(provider)
        now_ms = self._till.clock.now_ms()
        self._verifier.verify(signature, body, now_ms)
        callback = _read(body)
        if callback is None:
            return
        bound = await self._till.database.read(lambda tx: _bind(tx, provider, callback))
        if bound.known:
            return
        intent = await self._look_up(bound, callback)
        seen = SeenEvent(provider, callback.id, callback.type, bound.payment.id, callback.created, now_ms)
        moves = await self._till.database.write(lambda tx: self._apply(tx, bound, intent, seen))
        self._settling.announce(moves)

    async def _look_up(self, bound: _Bound, callback: Callback) -> Intent:
        """What the provider itself says. Raises PaymentMismatch, Unavailable."""
        try:
            intent = await self._till.look_up(bound.payment)
        except (IntentUnknown, Disagreement) as disagreement:
            log.error("signed callback the provider does not stand by", event_id=callback.id, error=str(disagreement))
            raise PaymentMismatch("the provider itself says otherwise") from disagreement
        claims_money = callback.type != "payment.failed"
        if intent.reference != callback.data.reference:
            raise PaymentMismatch("the reference is not that of this payment")
        if claims_money and intent.status not in CAPTURED:
            raise PaymentMismatch("the provider itself says that nothing was captured")
        if bound.refund is not None and intent.refunded != bound.refund.amount:
            raise PaymentMismatch("the provider itself says that this was not refunded")
        return intent

    def _apply(self, tx: Tx, bound: _Bound, intent: Intent, seen: SeenEvent) -> list[PaymentStatus]:
        """The inbox row and the effect, in one transaction. The moves made."""
        if not inbox.remember(tx, seen):
            return []
        moves: list[PaymentStatus] = []
        moved = self._settling.apply(tx, bound.payment, intent, seen.received_ms)
        if moved is not None:
            moves.append(moved)
        if bound.refund is not None and self._settling.apply_refund(tx, bound.payment, bound.refund, seen.received_ms):
            moves.append("refunded")
        for move in moves:
            inbox.note_effect(tx, seen, move)
        return moves


def _read(body: bytes) -> Callback | None:
    """None for a kind of callback that we do nothing about. Raises WebhookInvalid."""
    try:
        kind = msgspec.json.decode(body, type=_Kind)
        if kind.type not in KINDS:
            log.info("callback of another kind", event_id=kind.id, kind=kind.type)
            return None
        return msgspec.json.decode(body, type=Callback)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookInvalid from error


def _bind(tx: Tx, provider: str, callback: Callback) -> _Bound:
    """Our rows, if the callback says of them what they say. Raises PaymentNotFound, PaymentMismatch, InvalidId."""
    data = callback.data
    payment = payment_rows.by_id(tx, parse_id(data.payment_id))
    if payment is None or payment.provider != provider:
        raise PaymentNotFound
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("order_id", parse_id(data.order_id), payment.order_id),
        ("amount", data.amount, payment.amount),
        ("currency", data.currency, payment.currency),
        ("reference", data.reference, payment.reference or data.reference),
        ("refund_id", data.refund_id is not None, callback.type == "refund.succeeded"),
    )
    for field, theirs, ours in pairs:
        if theirs != ours:
            raise PaymentMismatch(f"the {field} of this callback is not that of the payment")
    refund = None
    if data.refund_id is not None:
        refund = refund_rows.by_id(tx, parse_id(data.refund_id))
        if refund is None or (refund.payment_id, refund.amount) != (payment.id, data.amount):
            raise PaymentMismatch("the refund of this callback is not one of this payment")
    return _Bound(payment, refund, inbox.is_known(tx, provider, callback.id))
