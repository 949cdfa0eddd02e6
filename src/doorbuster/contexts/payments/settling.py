"""Settling: what the provider says becomes what our books say, once. All roads lead here: a callback, a sweep, a
closing, a request that opens or confirms. Answers that come at the same time share a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from doorbuster.contexts.payments.model import (
    Intent,
    PaymentRecord,
    RefundRecord,
    refund_of,
    target_of,
)
from doorbuster.contexts.payments.provider import Opened
from doorbuster.contexts.payments.store import hot, ledger
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.store.hot import Step
from doorbuster.contexts.payments.till import CONTEXT, Till
from doorbuster.contracts.payments import PaymentRefunded, PaymentStatus
from doorbuster.kernel.money import Money
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.telemetry.crash_points import crash_point

BATCH_MAX, WAITING_MAX = 256, 8192


class BooksBroken(Exception):
    """Two rows that must move together did not. A bug; the transaction is rolled back."""


class Settling:
    """The only place where money is posted and announced."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._commits: GroupCommit[Step, PaymentRecord] = GroupCommit(
            self._commit, max_batch=BATCH_MAX, max_waiting=WAITING_MAX
        )

    async def settle(self, answers: Sequence[tuple[PaymentRecord, Intent]]) -> Mapping[int, PaymentRecord]:
        """Applies answers of the provider that agree with our rows; returns the payments as they are now, by id."""
        steps = [step for step in (self.step(payment, intent) for payment, intent in answers) if step is not None]
        after = {payment.id: payment for payment, _ in answers}
        waiting = [self._commits.enqueue(step) for step in steps]
        # Shielded: a caller that goes away does not undo what the provider has said.
        for moved in await asyncio.shield(asyncio.gather(*waiting)):
            after[moved.id] = moved
        return after

    async def take(self, payment: PaymentRecord, opened: Opened) -> PaymentRecord:
        """Where the provider's answer to the creating request takes a payment: offered, or settled at once.

        `opened.intent` has been compared with the payment. Returns it as it is now; somebody else may have been faster.
        """
        till = self._till
        step = self.step(payment, opened.intent)
        if step is None:
            check_ms = till.pace.next_check_ms(till.clock.now_ms(), 0)
            step = Step(payment, opened.intent, "pending", 0, opened.checkout_url, None, check_ms)
        else:
            step = replace(step, checkout_url=opened.checkout_url, decline=opened.decline)
        return await asyncio.shield(self._commits.enqueue(step))

    def step(self, payment: PaymentRecord, intent: Intent) -> Step | None:
        """Where the provider's word moves a payment; None if it moves nothing."""
        to = target_of(intent)
        if to is None:
            return None
        return Step(payment, intent, to, self._till.ids.next(payment.id) if to == "captured" else 0)

    def apply_step(self, tx: Tx, step: Step, now_ms: int) -> PaymentStatus | None:
        """The move, or None if it was made already or may not be made."""
        (moved,) = hot.settle(tx, [step], now_ms)
        return step.to if moved else None

    def apply_refund(self, tx: Tx, payment: PaymentRecord, refund: RefundRecord, now_ms: int) -> bool:
        """Books a refund that the provider has made. False if it was booked before."""
        if not refund_rows.succeed(tx, refund, now_ms):
            return False
        whole = payment_rows.finish_refund(tx, payment.id, refund.amount, now_ms)
        if whole is None:
            raise BooksBroken(f"refund {refund.id} succeeded, but payment {payment.id} was not being refunded")
        ledger.post(tx, refund_of(payment, refund, self._till.ids.next(payment.id)), now_ms)
        amount = Money(refund.amount, refund.currency)
        emit(tx, [PaymentRefunded(payment.id, payment.order_id, amount, refund.cause, whole, now_ms)], now_ms)
        return True

    def announce(self, moves: Sequence[PaymentStatus]) -> None:
        """To be called after the commit."""
        if "captured" in moves:
            crash_point("payments.capture-committed")
        if "captured" in moves or "refunded" in moves:
            self._till.wakeups.wake(CONTEXT)

    async def close(self) -> None:
        """Carries through what waits."""
        await self._commits.close()

    async def _commit(self, steps: Sequence[Step]) -> Sequence[PaymentRecord]:
        now_ms = self._till.clock.now_ms()

        def work(tx: Tx) -> tuple[list[bool], Mapping[int, PaymentRecord]]:
            made = hot.settle(tx, steps, now_ms)
            crash_point("payments.settled-not-committed")
            left = [step.payment.id for step, moved in zip(steps, made, strict=True) if not moved]
            return made, payment_rows.by_ids(tx, left) if left else {}

        made, others = await self._till.database.write(work)
        self.announce([step.to for step, moved in zip(steps, made, strict=True) if moved])
        return [
            _after(step, now_ms) if moved else others[step.payment.id] for step, moved in zip(steps, made, strict=True)
        ]


def _after(step: Step, now_ms: int) -> PaymentRecord:
    """The payment as the step has left it."""
    payment, captured = step.payment, step.to == "captured"
    return replace(
        payment,
        status=step.to,
        reference=step.intent.reference,
        checkout_url=payment.checkout_url or step.checkout_url,
        decline=payment.decline or step.decline,
        lease_until_ms=None,
        updated_ms=now_ms,
        captured_amount=payment.amount if captured else payment.captured_amount,
        captured_ms=now_ms if captured else payment.captured_ms,
    )
