"""A provider in memory that keeps its books, while everything on the way to it and back may be lost."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from msgspec.structs import replace

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
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable


class Died(Exception):
    """Our process is gone: whatever was to follow does not."""


@dataclass
class WildProvider:
    """Keeps its books; everything on the way to it and back may be lost. Satisfies provider.Provider."""

    clock: ManualClock
    dice: random.Random
    name: str = "simulator"
    behaves: bool = False
    intents: dict[int, Intent] = field(default_factory=dict)
    declines: dict[int, str] = field(default_factory=dict)
    made: dict[str, tuple[int, MadeRefund]] = field(default_factory=dict)
    lines: list[StatementLine] = field(default_factory=list)
    told: dict[int, list[bytes]] = field(default_factory=dict)
    trouble: Counter[str] = field(default_factory=Counter)

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        await self._way_there()
        known = self.intents.get(payment.id)
        if known is None:
            known = Intent(
                payment.id, f"pay_{payment.id}", "requires_payment", payment.order_id, payment.amount, "CNY", 0, 0
            )
            self.intents[payment.id] = known
            if method == "pm_card_visa":
                self.pay(payment.id)
            elif method is not None:
                self.decline(payment.id)
        if (known.order_id, known.amount) != (payment.order_id, payment.amount):
            raise ProviderRefused("create", 409, "other-amount")
        await self._way_back()
        intent = self.intents[payment.id]
        decline = self.declines.get(payment.id) if intent.status == "failed" else None
        return Opened(intent, f"https://provider.example/{payment.id}", decline)

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        await self._way_there()
        return self._intent(payment.id)

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        await self._way_there()
        if self._intent(payment.id).status in ("requires_payment", "failed"):
            self._set(payment.id, status="cancelled")
        await self._way_back()
        return self._intent(payment.id)

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        await self._way_there()
        intent = self._intent(payment.id)
        if str(refund.id) not in self.made:
            if intent.refunded + refund.amount > intent.captured:
                raise ProviderRefused("refund", 409, "too-much")
            refunded = intent.refunded + refund.amount
            whole = refunded == intent.captured
            self._set(payment.id, refunded=refunded, status="refunded" if whole else "captured")
            self.made[str(refund.id)] = (payment.id, MadeRefund(str(refund.id), refund.amount, "CNY"))
            self._book("refund", payment.id, str(refund.id), refund.amount)
            self._tell("refund.succeeded", payment.id, refund.amount, str(refund.id))
        await self._way_back()

    async def made_refunds(self, payment: PaymentRecord) -> Sequence[MadeRefund]:
        await self._way_there()
        return [made for payment_id, made in self.made.values() if payment_id == payment.id]

    async def statement(self, after: str | None, limit: int, period: Period | None = None) -> StatementPage:
        start = int(after or 0)
        end = start + limit
        return StatementPage(tuple(self.lines[start:end]), str(end) if end < len(self.lines) else None)

    async def close(self) -> None:
        """Holds no connections."""

    def pay(self, payment_id: int) -> None:
        intent = self.intents.get(payment_id)
        if intent is not None and intent.status in ("requires_payment", "failed"):
            self._set(payment_id, status="captured", captured=intent.amount)
            self._book("capture", payment_id, None, intent.amount)
            self._tell("payment.captured", payment_id, intent.amount, None)

    def decline(self, payment_id: int) -> None:
        intent = self.intents.get(payment_id)
        if intent is not None and intent.status in ("requires_payment", "failed"):
            self._set(payment_id, status="failed")
            self.declines[payment_id] = "card-declined"
            self._tell("payment.failed", payment_id, intent.amount, None)

    def _tell(self, kind: str, payment_id: int, amount: int, refund_id: str | None) -> None:
        intent = self.intents[payment_id]
        data = {
            "payment_id": str(payment_id),
            "order_id": str(intent.order_id),
            "reference": intent.reference,
            "amount": amount,
            "currency": "CNY",
            "refund_id": refund_id,
        }
        told = self.told.setdefault(intent.order_id, [])
        event = {"id": f"evt_{payment_id}_{len(told)}", "type": kind, "created": self.clock.now_ms(), "data": data}
        told.append(msgspec.json.encode(event))

    def _book(self, kind: str, payment_id: int, refund_id: str | None, amount: int) -> None:
        order_id, at_ms = str(self.intents[payment_id].order_id), self.clock.now_ms()
        self.lines.append(
            StatementLine(
                "refund" if kind == "refund" else "capture", str(payment_id), order_id, refund_id, amount, "CNY", at_ms
            )
        )

    def _intent(self, payment_id: int) -> Intent:
        if payment_id not in self.intents:
            raise IntentUnknown(str(payment_id))
        return self.intents[payment_id]

    def _set(self, payment_id: int, **changes: object) -> None:
        self.intents[payment_id] = replace(self.intents[payment_id], **changes)

    async def _way_there(self) -> None:
        await self._trouble("lost on the way there")

    async def _way_back(self) -> None:
        await self._trouble("acted, answer lost")

    async def _trouble(self, what: str) -> None:
        if self.dice.random() < 0.3:
            await asyncio.sleep(0)  # others go first
        fate = 1.0 if self.behaves else self.dice.random()
        if fate < 0.1:
            self.trouble[what] += 1
            raise Unavailable(what)
        if fate < 0.16:
            self.trouble[f"{what}, and we died"] += 1
            raise Died
