"""A payment provider in memory: keeps its word, can be away, and can act without answering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from doorbuster.contexts.payments.model import Intent, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import (
    IntentUnknown,
    MadeRefund,
    Opened,
    Period,
    ProviderRefused,
    StatementLine,
    StatementPage,
)
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Unavailable


@dataclass
class ScriptedProvider:
    """Satisfies contexts.payments.provider.Provider. `intents` is the truth about money."""

    clock: Clock
    intents: dict[int, Intent] = field(default_factory=dict)
    lines: list[StatementLine] = field(default_factory=list)
    away: bool = False
    mute_next: bool = False
    """The next request acts, and its answer is lost."""

    @property
    def name(self) -> str:
        return "scripted"

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        self._require_here()
        payment_id, order_id, amount = payment.id, payment.order_id, payment.money
        known = self.intents.setdefault(
            payment_id,
            Intent(payment_id, f"ref-{payment_id}", "requires_payment", order_id, amount.amount, amount.currency, 0, 0),
        )
        if (known.order_id, known.amount, known.currency) != (order_id, amount.amount, amount.currency):
            raise ProviderRefused("create", 409, "other-amount")
        self._maybe_lose_the_answer()
        return Opened(self.intents[payment_id], f"https://provider.example/{payment_id}")

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        self._require_here()
        return self._intent(payment.id)

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        self._require_here()
        payment_id = payment.id
        if self._intent(payment_id).status in ("requires_payment", "failed"):
            self._set(payment_id, status="cancelled")
        self._maybe_lose_the_answer()
        return self._intent(payment_id)

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        self._require_here()
        if not any(line.refund_id == str(refund.id) for line in self.lines):
            intent = self._intent(payment.id)
            refunded = intent.refunded + refund.amount
            if refunded > intent.captured:
                raise ProviderRefused("refund", 409, "nothing-to-refund")
            self._set(payment.id, status="refunded" if refunded == intent.captured else "captured", refunded=refunded)
            self._book("refund", payment.id, refund.id, refund.amount)
        self._maybe_lose_the_answer()

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        self._require_here()
        return [
            MadeRefund(line.refund_id, line.amount, line.currency)
            for line in self.lines
            if line.refund_id is not None and line.payment_id == str(payment.id)
        ]

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        self._require_here()
        start = int(after or 0)
        end = start + limit
        return StatementPage(tuple(self.lines[start:end]), str(end) if end < len(self.lines) else None)

    async def close(self) -> None:
        """Holds no connections."""

    # --- the shopper's side, and the provider's own mistakes -------------------------------------------------------

    def pay(self, payment_id: int) -> None:
        """The shopper pays, if that is still possible."""
        if self._intent(payment_id).status in ("requires_payment", "failed"):
            self._capture(payment_id)

    def decline(self, payment_id: int) -> None:
        if self._intent(payment_id).status == "requires_payment":
            self._set(payment_id, status="failed")

    def capture_by_mistake(self, payment_id: int) -> None:
        """Takes money for a payment that was cancelled."""
        if self._intent(payment_id).status == "cancelled":
            self._capture(payment_id)

    def _capture(self, payment_id: int) -> None:
        self._set(payment_id, status="captured", captured=self._intent(payment_id).amount)
        self._book("capture", payment_id, None, self._intent(payment_id).amount)

    def _book(self, kind: str, payment_id: int, refund_id: int | None, amount: int) -> None:
        intent = self._intent(payment_id)
        refund = None if refund_id is None else str(refund_id)
        self.lines.append(
            StatementLine(
                "refund" if kind == "refund" else "capture",
                str(payment_id),
                str(intent.order_id),
                refund,
                amount,
                intent.currency,
                self.clock.now_ms(),
            )
        )

    def _intent(self, payment_id: int) -> Intent:
        if payment_id not in self.intents:
            raise IntentUnknown(str(payment_id))
        return self.intents[payment_id]

    def _set(self, payment_id: int, **changes: object) -> None:
        self.intents[payment_id] = msgspec.structs.replace(self.intents[payment_id], **changes)

    def _require_here(self) -> None:
        if self.away:
            raise Unavailable("the provider is away")

    def _maybe_lose_the_answer(self) -> None:
        if self.mute_next:
            self.mute_next = False
            raise Unavailable("the answer was lost")
