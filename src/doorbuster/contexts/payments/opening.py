"""Opening a payment: committed as `in_progress` before the provider hears of it, offered or settled once it has
answered. Payments that begin at the same time share a transaction.

Between the two a crash, a lost answer or an outage may happen; whoever asks again with the same key, or the sweep,
carries on with the same payment id, which is the provider's idempotency key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from doorbuster.contexts.payments.closing import Closing
from doorbuster.contexts.payments.model import PAID, Disagreement, PaymentRecord, answer_of, require_agreement
from doorbuster.contexts.payments.provider import ProviderRefused
from doorbuster.contexts.payments.settling import BATCH_MAX, WAITING_MAX, Settling
from doorbuster.contexts.payments.store import hot
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.till import Till, log
from doorbuster.contracts.payments import (
    AlreadyPaid,
    Payment,
    PaymentAmountInvalid,
    PaymentClosed,
    PaymentInProgress,
    PaymentMethodInvalid,
    PaymentOpen,
    PaymentRefused,
)
from doorbuster.kernel.cause import text_of
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.kernel.request_context import current_cause
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.telemetry.crash_points import crash_point

ROUNDS_MAX = 4
"""How often the beginning is tried anew after other payments of the order got out of the way."""

_METHOD = re.compile(r"[A-Za-z0-9_]{1,64}")


class _InTheWay(Exception):
    """Declined payments of the order must be closed first. Rolls the beginning back."""

    def __init__(self, payments: Sequence[PaymentRecord]) -> None:
        super().__init__(f"{len(payments)} declined payments")
        self.payments = payments


class Opening:
    """One payment per key, at most one open payment per order."""

    def __init__(self, till: Till, settling: Settling, closing: Closing) -> None:
        self._till = till
        self._settling = settling
        self._closing = closing
        self._begins: GroupCommit[PaymentRecord, bool] = GroupCommit(
            self._begin_batch, max_batch=BATCH_MAX, max_waiting=WAITING_MAX
        )

    async def create(
        self, order_id: int, customer_id: int, amount: Money, key: str, method: str | None = None
    ) -> Payment:
        """See contracts.payments.Payments."""
        if amount.amount < 1:
            raise PaymentAmountInvalid(amount=amount.amount)
        if method is not None and not _METHOD.fullmatch(method):
            raise PaymentMethodInvalid
        new = self._new(order_id, customer_id, amount, key, method)
        if await self._begins.submit(new):
            return await self.carry_on(new)
        return await self._create_beside_others(new)

    async def _create_beside_others(self, new: PaymentRecord) -> Payment:
        """The key is known, or the order has other payments: one at a time, with everything that may be found."""
        till = self._till
        for _ in range(ROUNDS_MAX):
            try:
                begun = await till.database.write(lambda tx: self._begin(tx, new))
            except _InTheWay as declined:
                await self._close_declined(declined.payments)
                continue
            if isinstance(begun, Payment):
                return begun
            if begun is not None:
                return await self.carry_on(begun)
        raise Unavailable("other payments of this order are being opened and closed")

    async def opened_with(self, order_id: int, key: str) -> Payment | None:
        """See contracts.payments.Payments."""
        bound = await self._till.database.read(lambda tx: payment_rows.by_key(tx, order_id, key))
        if bound is None:
            return None
        try:
            return answer_of(bound)
        except (PaymentInProgress, AlreadyPaid, PaymentClosed):
            return None

    async def close(self) -> None:
        """Carries through what waits."""
        await self._begins.close()

    async def carry_on(self, payment: PaymentRecord) -> Payment:
        """From `in_progress` to an offer, or to what became of its method. The caller holds the payment's lease.

        Raises Unavailable (the lease is given back), PaymentRefused (closed for good), and what `answer_of` does.
        """
        crash_point("payments.in-progress-committed")
        try:
            opened = await self._till.provider_of(payment).create_intent(payment, payment.method)
            require_agreement(payment, opened.intent)
        except Unavailable:
            await self._give_back(payment)
            raise
        except Disagreement as disagreement:
            log.exception("the provider disagrees", payment_id=payment.id)
            await self._give_back(payment)
            raise Unavailable("the payment provider answered about something else") from disagreement
        except ProviderRefused as refused:
            await self._give_up(payment)
            raise PaymentRefused(payment_id=payment.id, reason=refused.slug) from refused
        crash_point("payments.provider-acted")
        return answer_of(await self._settling.take(payment, opened))

    async def _begin_batch(self, new: Sequence[PaymentRecord]) -> Sequence[bool]:
        """Whether each was begun. The others are looked at one by one."""
        begun = await self._till.database.write(lambda tx: hot.begin(tx, new))
        return [payment.id in begun for payment in new]

    def _new(self, order_id: int, customer_id: int, amount: Money, key: str, method: str | None) -> PaymentRecord:
        now_ms, pace = self._till.clock.now_ms(), self._till.pace
        return PaymentRecord(
            id=self._till.ids.next(order_id),
            order_id=order_id,
            customer_id=customer_id,
            provider=self._till.default_provider().name,
            reference=None,
            idempotency_key=key,
            method=method,
            amount=amount.amount,
            currency=amount.currency,
            status="in_progress",
            decline=None,
            checkout_url=None,
            lease_until_ms=now_ms + pace.lease_ms,
            next_check_ms=now_ms + pace.lease_ms + pace.abandoned_ms,
            checks=0,
            captured_amount=0,
            refund_requested=0,
            refunded_amount=0,
            created_ms=now_ms,
            updated_ms=now_ms,
            captured_ms=None,
            refunded_ms=None,
            cause=text_of(current_cause()),
        )

    def _begin(self, tx: Tx, new: PaymentRecord) -> PaymentRecord | Payment | None:
        """A payment whose lease is ours, or the stored answer. None: look again, the obstacle has just gone."""
        if payment_rows.insert_if_absent(tx, new):
            # Only now: the row holds the order's one open place, so nothing can be opened beside it any more.
            self._require_no_other(tx, new)
            return new
        bound = payment_rows.by_key(tx, new.order_id, new.idempotency_key)
        if bound is not None:
            return self._resume(tx, bound, new)
        other = payment_rows.open_of(tx, new.order_id)
        if other is not None:
            raise PaymentOpen(payment_id=other.id)
        return None

    def _require_no_other(self, tx: Tx, new: PaymentRecord) -> None:
        """Raises AlreadyPaid, and _InTheWay for declined payments that might still be paid beside the new one."""
        others = [payment for payment in payment_rows.capturable_or_paid(tx, [new.order_id]) if payment.id != new.id]
        for payment in others:
            if payment.status in PAID and payment.status != "refunded":
                raise AlreadyPaid(payment_id=payment.id)
        declined = [payment for payment in others if payment.status == "failed"]
        if declined:
            raise _InTheWay(declined)

    def _resume(self, tx: Tx, bound: PaymentRecord, new: PaymentRecord) -> PaymentRecord | Payment:
        same = (bound.customer_id, bound.money, bound.method) == (new.customer_id, new.money, new.method)
        if not same:
            raise IdempotencyKeyReused
        if bound.status != "in_progress":
            return answer_of(bound)
        assert bound.lease_until_ms is not None, "a check of the database"
        assert new.lease_until_ms is not None
        assert new.next_check_ms is not None
        if bound.lease_until_ms > new.created_ms:
            raise PaymentInProgress(payment_id=bound.id)
        if not payment_rows.take_lease(tx, bound, new.lease_until_ms, new.next_check_ms):
            raise PaymentInProgress(payment_id=bound.id)
        resumed = payment_rows.by_id(tx, bound.id)
        assert resumed is not None, "just updated"
        return resumed

    async def _close_declined(self, payments: Sequence[PaymentRecord]) -> None:
        """Raises AlreadyPaid, Unavailable."""
        closed = await self._closing.close(payments)
        for payment in payments:
            if closed[payment.id] == "captured":
                raise AlreadyPaid(payment_id=payment.id)
            if closed[payment.id] == "unknown":
                raise Unavailable("the provider cannot be asked about an earlier payment of this order")

    async def _give_back(self, payment: PaymentRecord) -> None:
        """The next one who asks may carry on at once."""
        now_ms = self._till.clock.now_ms()
        await self._till.database.write(lambda tx: payment_rows.release_lease(tx, payment, now_ms))

    async def _give_up(self, payment: PaymentRecord) -> None:
        now_ms = self._till.clock.now_ms()
        await self._till.database.write(lambda tx: payment_rows.give_up(tx, payment, now_ms))
        log.warning("the provider refuses a payment", payment_id=payment.id)
