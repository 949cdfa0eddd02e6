"""Opening a payment: committed as `in_progress` before the provider hears of it, offered once it has answered.

Between the two a crash, a lost answer or an outage may happen; whoever asks again with the same key, or the sweep,
carries on with the same payment id, which is the provider's idempotency key.
"""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.payments.closing import Closing
from doorbuster.contexts.payments.model import PAID, PaymentRecord, answer_of
from doorbuster.contexts.payments.provider import Opened, ProviderRefused
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.till import Till, log
from doorbuster.contracts.payments import (
    AlreadyPaid,
    Payment,
    PaymentAmountInvalid,
    PaymentInProgress,
    PaymentOpen,
    PaymentRefused,
)
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point

ROUNDS_MAX = 4
"""How often the beginning is tried anew after other payments of the order got out of the way."""


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

    async def create(self, order_id: int, customer_id: int, amount: Money, key: str) -> Payment:
        """See contracts.payments.Payments."""
        if amount.amount < 1:
            raise PaymentAmountInvalid(amount=amount.amount)
        till = self._till
        for _ in range(ROUNDS_MAX):
            new = self._new(order_id, customer_id, amount, key)
            try:
                begun = await till.database.write(lambda tx, new=new: self._begin(tx, new))
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
        return None if bound is None or bound.checkout_url is None else answer_of(bound)

    async def carry_on(self, payment: PaymentRecord) -> Payment:
        """From `in_progress` to an offer. The caller holds the payment's lease.

        Raises Unavailable (the lease is given back), PaymentRefused (closed for good), and what `answer_of` does.
        """
        crash_point("payments.in-progress-committed")
        try:
            opened = await self._till.provider_of(payment).create_intent(payment.id, payment.order_id, payment.money)
        except Unavailable:
            now_ms = self._till.clock.now_ms()
            await self._till.database.write(lambda tx: payment_rows.release_lease(tx, payment, now_ms))
            raise
        except ProviderRefused as refused:
            await self._give_up(payment)
            raise PaymentRefused(payment_id=payment.id, reason=refused.slug) from refused
        crash_point("payments.provider-acted")
        offered = await self._offer(payment, opened)
        if opened.status != "requires_payment":
            # A resumed one may have been paid, declined or cancelled in the meantime.
            await self._settling.settle(await self._till.ask_all([offered], self._till.look_up))
        return answer_of(offered)

    def _new(self, order_id: int, customer_id: int, amount: Money, key: str) -> PaymentRecord:
        now_ms, pace = self._till.clock.now_ms(), self._till.pace
        return PaymentRecord(
            id=self._till.ids.next(order_id),
            order_id=order_id,
            customer_id=customer_id,
            provider=self._till.default_provider().name,
            reference=None,
            idempotency_key=key,
            amount=amount.amount,
            currency=amount.currency,
            status="in_progress",
            checkout_url=None,
            lease_until_ms=now_ms + pace.lease_ms,
            next_check_ms=now_ms + pace.lease_ms + pace.abandoned_ms,
            checks=0,
            captured_amount=0,
            refunded_amount=0,
            created_ms=now_ms,
            updated_ms=now_ms,
            captured_ms=None,
            refunded_ms=None,
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
        same = (bound.customer_id, bound.money) == (new.customer_id, new.money)
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

    async def _offer(self, payment: PaymentRecord, opened: Opened) -> PaymentRecord:
        """The payment as it is after the offer; somebody else may have been faster."""
        now_ms = self._till.clock.now_ms()
        check_ms = self._till.pace.next_check_ms(now_ms, 0)

        def work(tx: Tx) -> PaymentRecord | None:
            payment_rows.offer(tx, payment, opened, now_ms, check_ms)
            return payment_rows.by_id(tx, payment.id)

        offered = await self._till.database.write(work)
        assert offered is not None, "payments are never deleted"
        return offered

    async def _give_up(self, payment: PaymentRecord) -> None:
        now_ms = self._till.clock.now_ms()
        await self._till.database.write(lambda tx: payment_rows.give_up(tx, payment, now_ms))
        log.warning("the provider refuses a payment", payment_id=payment.id)
