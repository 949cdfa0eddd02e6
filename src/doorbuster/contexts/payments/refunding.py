"""Refunding: money goes back because orders say so, whole or in parts, once per cause, however often they say it and
whatever it takes.

A request is a row. A sweep finds it, counts the try, and asks the provider with the refund's id as idempotency key;
so neither a crash nor a lost answer pays back twice, and none is given up.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from doorbuster.contexts.payments.model import PAID, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import ProviderRefused
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.till import Outage, Till, log
from doorbuster.contexts.payments.waking import Hint
from doorbuster.contracts.orders import RefundRequested
from doorbuster.kernel.errors import Busy, Unavailable
from doorbuster.kernel.events import Envelope
from doorbuster.platform.pools import at_most
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.telemetry.crash_points import crash_point

OUTAGE_PAUSE_S = 2.0


class RefundImpossible(Exception):
    """Orders ask back money that is not theirs or is not here. The event is parked: somebody must look."""


class Refunding:
    """Writes requests down, and works them off."""

    def __init__(self, till: Till, settling: Settling) -> None:
        self._till = till
        self._settling = settling
        self._requested = Hint()

    def request(self, tx: Tx, envelopes: Sequence[Envelope[RefundRequested]]) -> None:
        """Writes the refunds down, in the transaction of the consumer. Raises RefundImpossible."""
        for envelope in envelopes:
            self._request_one(tx, envelope.event)
        self._requested.give()

    def _request_one(self, tx: Tx, event: RefundRequested) -> None:
        now_ms = self._till.clock.now_ms()
        refund = RefundRecord(
            id=self._till.ids.next(event.payment_id),
            payment_id=event.payment_id,
            cause=event.cause,
            amount=event.amount.amount,
            currency=event.amount.currency,
            status="requested",
            attempts=0,
            next_try_ms=now_ms,
            created_ms=now_ms,
            succeeded_ms=None,
        )
        if not refund_rows.insert_if_absent(tx, refund):
            return
        amount, currency = event.amount.amount, event.amount.currency
        if payment_rows.begin_refund(tx, event.payment_id, event.order_id, amount, currency, now_ms):
            return
        refund_rows.withdraw(tx, refund)
        payment = payment_rows.by_id(tx, event.payment_id)
        if payment is None or payment.order_id != event.order_id or payment.currency != currency:
            raise RefundImpossible(f"order {event.order_id} has no payment {event.payment_id} in {currency}")
        if payment.status not in PAID:
            raise RefundImpossible(f"payment {payment.id} is {payment.status}: there is nothing to give back")
        if payment.refund_requested < payment.amount or payment.amount != amount:
            left = payment.amount - payment.refund_requested
            raise RefundImpossible(f"{amount} asked back of payment {payment.id}, {left} {currency} is left")
        log.info("all of it goes back for other causes already", payment_id=payment.id, cause=event.cause)

    async def run(self) -> None:
        """Works off refunds until cancelled: at once when one was asked for, and on every sweep."""
        with self._requested.listening() as requested:
            while True:
                pause_s = self._till.pace.refunds_sweep_s
                try:
                    while await self.sweep() == self._till.pace.page:
                        pass
                except Busy as outage:
                    log.warning("refunds wait", error=repr(outage))
                    pause_s = OUTAGE_PAUSE_S
                await requested.wait(pause_s)

    async def sweep(self) -> int:
        """Tries one page of the refunds that are due; returns how many it took. Raises Unavailable."""
        now_ms, pace = self._till.clock.now_ms(), self._till.pace
        due = await self._till.database.read(lambda tx: refund_rows.due(tx, now_ms, pace.page))
        due.sort(key=lambda refund: refund.id)
        if not due:
            return 0

        def take(tx: Tx) -> tuple[list[RefundRecord], dict[int, PaymentRecord]]:
            ours = [
                replace(refund, attempts=refund.attempts + 1)
                for refund in due
                if refund_rows.take(tx, refund, pace.next_try_ms(now_ms, refund.attempts + 1))
            ]
            return ours, payment_rows.by_ids(tx, [refund.payment_id for refund in ours])

        ours, payments = await self._till.database.write(take)
        made = await self._ask_all([(refund, payments[refund.payment_id]) for refund in ours])
        await self._book(made)
        return len(ours)

    async def _ask_all(
        self, refunds: Sequence[tuple[RefundRecord, PaymentRecord]]
    ) -> list[tuple[RefundRecord, PaymentRecord]]:
        """Those that the provider has made. The others are tried again after their pause."""
        outage = Outage(self._till.pace.outages_max)

        async def ask(pair: tuple[RefundRecord, PaymentRecord]) -> bool:
            refund, payment = pair
            if outage.lasts:
                return False
            try:
                await self._till.provider_of(payment).refund(refund, payment)
            except Unavailable as away:
                outage.count()
                log.warning("provider away", refund_id=refund.id, error=repr(away))
                return False
            except ProviderRefused as refused:
                log.error("the provider refuses a refund", refund_id=refund.id, error=str(refused))
                return False
            crash_point("payments.refund-acted")
            return True

        answers = await at_most(self._till.pace.at_once, refunds, ask)
        return [pair for pair, made in zip(refunds, answers, strict=True) if made]

    async def _book(self, made: Sequence[tuple[RefundRecord, PaymentRecord]]) -> None:
        if not made:
            return
        now_ms = self._till.clock.now_ms()
        in_order = sorted(made, key=lambda pair: pair[0].id)  # as everybody locks them

        def work(tx: Tx) -> int:
            return sum(self._settling.apply_refund(tx, payment, refund, now_ms) for refund, payment in in_order)

        if await self._till.database.write(work):
            self._settling.announce(["refunded"])
