"""Closing: after this no money comes in for a payment any more, or it has come in and is settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from doorbuster.contexts.payments.model import CAPTURABLE, Intent, PaymentRecord, require_agreement
from doorbuster.contexts.payments.provider import CONFLICT, IntentUnknown, Opened, Provider, ProviderRefused
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.payments import CLOSE_MAX, Closed, PaymentStatus
from doorbuster.kernel.errors import Invalid, Unavailable

_VERDICTS: Mapping[PaymentStatus, Closed] = {
    "captured": "captured",
    "cancelled": "closed",
    # The money is on its way back, or is back already.
    "refunding": "closed",
    "refunded": "closed",
}


class Closing:
    """Ends what could still be captured, with the provider's consent."""

    def __init__(self, till: Till, settling: Settling) -> None:
        self._till = till
        self._settling = settling

    async def close_open(self, order_ids: Sequence[int]) -> Mapping[int, Closed]:
        """See contracts.payments.Payments."""
        distinct = sorted(set(order_ids))
        if len(distinct) > CLOSE_MAX:
            raise Invalid(f"at most {CLOSE_MAX} orders at once")
        found = await self._till.database.read(lambda tx: payment_rows.capturable_or_paid(tx, distinct))
        capturable = [payment for payment in found if payment.status in CAPTURABLE]
        verdicts: dict[int, Closed] = {payment.id: _VERDICTS.get(payment.status, "unknown") for payment in found}
        for start in range(0, len(capturable), self._till.pace.page):
            page = capturable[start : start + self._till.pace.page]
            closed = await self.close(page)
            verdicts |= closed
            if all(verdict == "unknown" for verdict in closed.values()):
                break  # the provider is away: those left stay unknown
        by_order: dict[int, Closed] = dict.fromkeys(distinct, "closed")
        for payment in found:
            by_order[payment.order_id] = max(by_order[payment.order_id], verdicts[payment.id], key=_weight)
        return by_order

    async def close(self, payments: Sequence[PaymentRecord]) -> Mapping[int, Closed]:
        """The same for payments that may still be captured, by payment id."""
        answers = await self._till.ask_all(payments, self._cancel)
        after = await self._settling.settle(answers)
        return {
            payment.id: _VERDICTS.get(after[payment.id].status, "unknown") if payment.id in after else "unknown"
            for payment in payments
        }

    async def _cancel(self, payment: PaymentRecord) -> Intent:
        """Raises Unavailable, IntentUnknown, Disagreement."""
        provider = self._till.provider_of(payment)
        try:
            intent = await provider.cancel_intent(payment)
        except IntentUnknown:
            # The request that opens it may still be under way and would open it after our question. So it is opened
            # here: the id is taken, and what is cancelled stays cancelled.
            opened = await self._take_the_id(provider, payment)
            require_agreement(payment, opened.intent)
            intent = await provider.cancel_intent(replace(payment, reference=opened.intent.reference))
        return require_agreement(payment, intent)

    async def _take_the_id(self, provider: Provider, payment: PaymentRecord) -> Opened:
        """Opens the intent without confirming it. Raises Unavailable."""
        try:
            return await provider.create_intent(payment, None)
        except ProviderRefused as refused:
            if refused.slug != CONFLICT:
                raise Unavailable("the provider refuses to know this payment") from refused
        try:
            # The provider knows the id by the request that was to confirm it: the same again changes nothing.
            return await provider.create_intent(payment, payment.method)
        except ProviderRefused as refused:
            raise Unavailable("the provider refuses to know this payment") from refused


def _weight(verdict: Closed) -> int:
    """What counts for an order with several payments: money in, then doubt, then nothing."""
    return ("closed", "unknown", "captured").index(verdict)
