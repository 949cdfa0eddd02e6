"""Callbacks: verified, bound to a payment of ours, held against the provider itself, and applied once.

A callback is believed only as far as "look at this payment": what is settled is what the provider answers when it is
asked. So it does not matter how late, how often and in which order callbacks come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from doorbuster.contexts.payments.callbacks import Callback, Door
from doorbuster.contexts.payments.model import Disagreement, Intent, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import IntentUnknown
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.store import webhooks as inbox
from doorbuster.contexts.payments.store.hot import Step
from doorbuster.contexts.payments.store.webhooks import SeenEvent
from doorbuster.contexts.payments.till import Till, log
from doorbuster.contracts.orders import PaymentMismatch
from doorbuster.contracts.payments import PaymentNotFound, PaymentStatus
from doorbuster.platform.sql.database import Tx

CAPTURED = ("captured", "refunded")
_CLAIMING_CAPTURE = ("captured", "refunded", "some-refunded")
_OF_REFUNDS = ("refunded", "some-refunded")


class _Bound(Struct, frozen=True):
    """What a callback is about, read from our rows; `refunds` are those that are not made yet, as far as we know."""

    payment: PaymentRecord
    refunds: Sequence[RefundRecord]
    known: bool


class Webhooks:
    """Takes callbacks of the connected providers; `doors` by provider."""

    def __init__(self, till: Till, settling: Settling, doors: Mapping[str, Door]) -> None:
        self._till = till
        self._settling = settling
        self._doors = doors

    def header_of(self, provider: str) -> str:
        """The header that signs this provider's callbacks. Raises ProviderNotFound."""
        self._till.provider(provider)
        return self._doors[provider].header

    async def receive(self, provider: str, signature: str | None, body: bytes) -> None:
        """Takes a callback in; returning means that it is settled and need not come again.

        Raises ProviderNotFound, WebhookSignatureInvalid, WebhookStale, WebhookInvalid, PaymentNotFound,
        PaymentMismatch (nothing is written), Unavailable (send it again).
        """
        self._till.provider(provider)
        door, now_ms = self._doors[provider], self._till.clock.now_ms()
        door.verifier.verify(signature, body, now_ms)
        callback = door.read(body)
        if callback is None:
            log.info("callback that we do nothing about", provider=provider)
            return
        bound = await self._till.database.read(lambda tx: _bind(tx, provider, callback))
        if bound.known:
            return
        intent = await self._look_up(bound, callback)
        refunds = await self._made(bound, callback)
        step = self._settling.step(bound.payment, intent)
        seen = SeenEvent(provider, callback.id, callback.type, bound.payment.id, callback.created_ms, now_ms)
        moves = await self._till.database.write(lambda tx: self._apply(tx, bound, step, refunds, seen))
        self._settling.announce(moves)

    async def _look_up(self, bound: _Bound, callback: Callback) -> Intent:
        """What the provider itself says. Raises PaymentMismatch, Unavailable."""
        # A row in progress has no reference yet; that of the callback is believed if all that it leads to is ours.
        payment = replace(bound.payment, reference=bound.payment.reference or callback.reference)
        try:
            intent = await self._till.look_up(payment)
        except (IntentUnknown, Disagreement) as disagreement:
            log.error("signed callback the provider does not stand by", event_id=callback.id, error=str(disagreement))
            raise PaymentMismatch("the provider itself says otherwise") from disagreement
        if callback.claim in _CLAIMING_CAPTURE and intent.status not in CAPTURED:
            raise PaymentMismatch("the provider itself says that nothing was captured")
        return intent

    async def _made(self, bound: _Bound, callback: Callback) -> Sequence[RefundRecord]:
        """Those of our requested refunds that the provider itself says it has made. Raises PaymentMismatch,
        Unavailable."""
        if callback.claim not in _OF_REFUNDS:
            return ()
        payment = replace(bound.payment, reference=bound.payment.reference or callback.reference)
        try:
            made = await self._till.provider_of(payment).made_refunds(payment)
        except IntentUnknown as unknown:
            raise PaymentMismatch("the provider itself says otherwise") from unknown
        names = {(refund.refund_id, refund.amount, refund.currency) for refund in made}
        found = [refund for refund in bound.refunds if (str(refund.id), refund.amount, refund.currency) in names]
        if callback.claim == "refunded" and (str(callback.refund_id), callback.amount, callback.currency) not in names:
            raise PaymentMismatch("the provider itself says that this was not refunded")
        return found

    def _apply(
        self, tx: Tx, bound: _Bound, step: Step | None, refunds: Sequence[RefundRecord], seen: SeenEvent
    ) -> list[PaymentStatus]:
        """The inbox row and the effects, in one transaction. The moves made."""
        if not inbox.remember(tx, seen):
            return []
        moves: list[PaymentStatus] = []
        moved = self._settling.apply_step(tx, step, seen.received_ms) if step is not None else None
        if moved is not None:
            moves.append(moved)
            inbox.note_effect(tx, seen, moved, None)
        for refund in refunds:
            if self._settling.apply_refund(tx, bound.payment, refund, seen.received_ms):
                moves.append("refunded")
                inbox.note_effect(tx, seen, "refunded", refund.id)
        return moves


def _bind(tx: Tx, provider: str, callback: Callback) -> _Bound:
    """Our rows, if the callback says of them what they say. Raises PaymentNotFound, PaymentMismatch."""
    payment = payment_rows.by_id(tx, callback.payment_id)
    if payment is None or payment.provider != provider:
        raise PaymentNotFound
    of_refund = callback.claim == "refunded"
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("order_id", callback.order_id, payment.order_id),
        ("amount", callback.amount, callback.amount if of_refund else payment.amount),
        ("currency", callback.currency, payment.currency),
        ("reference", callback.reference, payment.reference or callback.reference),
        ("refund_id", callback.refund_id is not None, of_refund),
    )
    for field, theirs, ours in pairs:
        if theirs != ours:
            raise PaymentMismatch(f"the {field} of this callback is not that of the payment")
    if callback.refund_id is not None:
        refund = refund_rows.by_id(tx, callback.refund_id)
        if refund is None or (refund.payment_id, refund.amount) != (payment.id, callback.amount):
            raise PaymentMismatch("the refund of this callback is not one of this payment")
    waiting = refund_rows.requested_of(tx, payment.id) if callback.claim in _OF_REFUNDS else []
    return _Bound(payment, waiting, inbox.is_known(tx, provider, callback.id))
