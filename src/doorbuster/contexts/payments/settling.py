"""Settling: what the provider says becomes what our books say, once. All roads lead here: a callback, a sweep, a
closing, a resumed request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from doorbuster.contexts.payments.model import (
    Intent,
    PaymentRecord,
    RefundRecord,
    capture_of,
    refund_of,
    target_of,
)
from doorbuster.contexts.payments.store import ledger
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.till import CONTEXT, Till
from doorbuster.contracts.payments import PaymentCaptured, PaymentRefunded, PaymentStatus
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point


class BooksBroken(Exception):
    """Two rows that must move together did not. A bug; the transaction is rolled back."""


class Settling:
    """The only place where money is posted and announced."""

    def __init__(self, till: Till) -> None:
        self._till = till

    async def settle(self, answers: Sequence[tuple[PaymentRecord, Intent]]) -> Mapping[int, PaymentRecord]:
        """Applies answers of the provider that agree with our rows, in one transaction.

        Returns the payments as they are now, by id.
        """
        if not answers:
            return {}
        till, now_ms = self._till, self._till.clock.now_ms()
        in_order = sorted(answers, key=lambda answer: answer[0].id)  # as everybody locks them

        def work(tx: Tx) -> tuple[list[PaymentStatus], Mapping[int, PaymentRecord]]:
            made: list[PaymentStatus | None] = [self.apply(tx, payment, intent, now_ms) for payment, intent in in_order]
            after = payment_rows.by_ids(tx, [payment.id for payment, _ in answers])
            moves: list[PaymentStatus] = [move for move in made if move is not None]
            return moves, after

        moves, after = await till.database.write(work)
        self.announce(moves)
        return after

    def apply(self, tx: Tx, payment: PaymentRecord, intent: Intent, now_ms: int) -> PaymentStatus | None:
        """Moves one payment where its intent is. The move, or None if it was there already or may not go there.

        `intent` has been compared with the payment; what is compared never changes.
        """
        to = target_of(intent)
        if to is None or not payment_rows.move(tx, intent, to, now_ms):
            return None
        if to == "captured":
            ledger.post(tx, capture_of(payment, self._till.ids.next(payment.id)), now_ms)
            emit(tx, [PaymentCaptured(payment.id, payment.order_id, payment.money, now_ms)], now_ms)
        return to

    def apply_refund(self, tx: Tx, payment: PaymentRecord, refund: RefundRecord, now_ms: int) -> bool:
        """Books a refund that the provider has made. False if it was booked before."""
        if not refund_rows.succeed(tx, refund, now_ms):
            return False
        if not payment_rows.finish_refund(tx, payment.id, refund.amount, now_ms):
            raise BooksBroken(f"refund {refund.id} succeeded, but payment {payment.id} was not being refunded")
        ledger.post(tx, refund_of(payment, refund, self._till.ids.next(payment.id)), now_ms)
        emit(tx, [PaymentRefunded(payment.id, payment.order_id, payment.money, now_ms)], now_ms)
        return True

    def announce(self, moves: Sequence[PaymentStatus]) -> None:
        """To be called after the commit."""
        if "captured" in moves:
            crash_point("payments.capture-committed")
        if "captured" in moves or "refunded" in moves:
            self._till.wakeups.wake(CONTEXT)
