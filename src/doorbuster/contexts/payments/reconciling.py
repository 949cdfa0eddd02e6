"""Reconciling: payments that nobody told us about are asked for, so that a lost callback loses nothing.

Also carries on `in_progress` payments that nobody came back for: they would keep their order from being paid.
"""

from __future__ import annotations

import asyncio

from doorbuster.contexts.payments.model import PaymentRecord
from doorbuster.contexts.payments.opening import Opening
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.till import Outage, Till, log
from doorbuster.contracts.payments import AlreadyPaid, PaymentClosed, PaymentInProgress, PaymentRefused
from doorbuster.kernel.errors import Busy, Unavailable
from doorbuster.platform.pools import at_most
from doorbuster.platform.sql.database import Tx

OUTAGE_PAUSE_S = 2.0


class Reconciling:
    """Sweeps in bounded pages, each payment ever more rarely."""

    def __init__(self, till: Till, settling: Settling, opening: Opening) -> None:
        self._till = till
        self._settling = settling
        self._opening = opening

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = self._till.pace.checks_sweep_s
            try:
                while await self.sweep() == self._till.pace.page:
                    pass
            except Busy as outage:
                log.warning("reconciliation waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> int:
        """Asks about one page of the payments that are due; returns how many it took. Raises Unavailable."""
        now_ms, pace = self._till.clock.now_ms(), self._till.pace
        due = await self._till.database.read(lambda tx: payment_rows.due(tx, now_ms, pace.page))
        if not due:
            return 0
        due.sort(key=lambda payment: payment.id)
        ours = await self._till.database.write(lambda tx: [p for p in due if self._take(tx, p, now_ms)])
        unfinished = [payment for payment in ours if payment.status == "in_progress"]
        unheard = [payment for payment in ours if payment.status != "in_progress"]
        await self._settling.settle(await self._till.ask_all(unheard, self._till.look_up))
        await self._carry_on(unfinished)
        return len(ours)

    def _take(self, tx: Tx, payment: PaymentRecord, now_ms: int) -> bool:
        return payment_rows.take_check(tx, payment, self._till.pace.next_check_ms(now_ms, payment.checks + 1))

    async def _carry_on(self, payments: list[PaymentRecord]) -> None:
        outage = Outage(self._till.pace.outages_max)

        async def carry_on(payment: PaymentRecord) -> None:
            if outage.lasts:
                return
            try:
                leased = await self._lease(payment)
                if leased is not None:
                    await self._opening.carry_on(leased)
            except (PaymentInProgress, PaymentClosed, PaymentRefused, AlreadyPaid) as settled:
                log.info("an abandoned payment came to its end", payment_id=payment.id, outcome=settled.slug)
            except Unavailable as away:
                outage.count()
                log.warning("provider away", payment_id=payment.id, error=repr(away))

        await at_most(self._till.pace.at_once, payments, carry_on)

    async def _lease(self, payment: PaymentRecord) -> PaymentRecord | None:
        """The payment with a lease of ours; None if its shopper came back, or another sweep was faster."""
        now_ms, pace = self._till.clock.now_ms(), self._till.pace

        def work(tx: Tx) -> PaymentRecord | None:
            until_ms = now_ms + pace.lease_ms
            check_ms = max(until_ms + pace.abandoned_ms, pace.next_check_ms(now_ms, payment.checks + 1))
            taken = payment_rows.take_lease(tx, payment, until_ms, check_ms)
            return payment_rows.by_id(tx, payment.id) if taken else None

        return await self._till.database.write(work)
