"""A payment provider in memory: keeps its word, can be away, and can act without answering."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from doorbuster.contexts.payments.model import Intent
from doorbuster.contexts.payments.provider import (
    IntentUnknown,
    Opened,
    ProviderRefused,
    StatementLine,
    StatementPage,
)
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money


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

    async def create_intent(self, payment_id: int, order_id: int, amount: Money) -> Opened:
        self._require_here()
        known = self.intents.setdefault(
            payment_id,
            Intent(payment_id, f"ref-{payment_id}", "requires_payment", order_id, amount.amount, amount.currency, 0, 0),
        )
        if (known.order_id, known.amount, known.currency) != (order_id, amount.amount, amount.currency):
            raise ProviderRefused("create", 409, "other-amount")
        self._maybe_lose_the_answer()
        return Opened(known.reference, known.status, f"https://provider.example/{payment_id}")

    async def get_intent(self, payment_id: int) -> Intent:
        self._require_here()
        return self._intent(payment_id)

    async def cancel_intent(self, payment_id: int) -> Intent:
        self._require_here()
        if self._intent(payment_id).status in ("requires_payment", "failed"):
            self._set(payment_id, status="cancelled")
        self._maybe_lose_the_answer()
        return self._intent(payment_id)

    async def refund(self, refund_id: int, payment_id: int, amount: Money) -> None:
        self._require_here()
        if not any(line.refund_id == str(refund_id) for line in self.lines):
            if self._intent(payment_id).status != "captured":
                raise ProviderRefused("refund", 409, "nothing-to-refund")
            self._set(payment_id, status="refunded", refunded=amount.amount)
            self._book("refund", payment_id, refund_id)
        self._maybe_lose_the_answer()

    async def statement(self, after: str | None, limit: int) -> StatementPage:
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
        self._book("capture", payment_id, None)

    def _book(self, kind: str, payment_id: int, refund_id: int | None) -> None:
        intent = self._intent(payment_id)
        refund = None if refund_id is None else str(refund_id)
        self.lines.append(
            StatementLine(
                "refund" if kind == "refund" else "capture",
                str(payment_id),
                str(intent.order_id),
                refund,
                intent.amount,
                intent.currency,
                self.clock.now_ms(),
            )
        )

    def _intent(self, payment_id: int) -> Intent:
        if payment_id not in self.intents:
            raise IntentUnknown(payment_id)
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
