"""The one door to payments: opening, closing, callbacks, refunds, reconciliation, audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from doorbuster.contexts.payments.auditing import Auditing
from doorbuster.contexts.payments.callbacks import Door
from doorbuster.contexts.payments.closing import Closing
from doorbuster.contexts.payments.daily import Daily
from doorbuster.contexts.payments.differences import Reconciliation
from doorbuster.contexts.payments.opening import Opening
from doorbuster.contexts.payments.reconciling import Reconciling
from doorbuster.contexts.payments.refunding import Refunding
from doorbuster.contexts.payments.settling import Settling
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.till import Till
from doorbuster.contexts.payments.webhooks import Webhooks
from doorbuster.contracts.audit import Check, PaymentFact
from doorbuster.contracts.payments import Closed, Payment, PaymentNotFound
from doorbuster.kernel.clock import Instant
from doorbuster.kernel.money import Money
from doorbuster.kernel.principal import Principal


class PaymentsService:
    """Satisfies contracts.payments.Payments, contracts.audit.Auditable and contracts.audit.AuditsPayments."""

    def __init__(self, till: Till, doors: Mapping[str, Door]) -> None:
        """`doors` say how the callbacks of each provider come in."""
        self._till = till
        self._settling = settling = Settling(till)
        self._closing = Closing(till, settling)
        self._opening = Opening(till, settling, self._closing)
        self._webhooks = Webhooks(till, settling, doors)
        self._auditing = Auditing(till)
        self._daily = Daily(till)
        self.refunding = Refunding(till, settling)
        self.reconciling = Reconciling(till, settling, self._opening)

    async def create(
        self, order_id: int, customer_id: int, amount: Money, key: str, method: str | None = None
    ) -> Payment:
        """See contracts.payments.Payments."""
        return await self._opening.create(order_id, customer_id, amount, key, method)

    async def opened_with(self, order_id: int, key: str) -> Payment | None:
        """See contracts.payments.Payments."""
        return await self._opening.opened_with(order_id, key)

    async def close_open(self, order_ids: Sequence[int]) -> Mapping[int, Closed]:
        """See contracts.payments.Payments."""
        return await self._closing.close_open(order_ids)

    async def payment(self, principal: Principal, payment_id: int) -> Payment:
        """One's own payment; support and admins see all. Raises PaymentNotFound, also for somebody else's."""
        found = await self._till.database.read(lambda tx: payment_rows.by_id(tx, payment_id))
        if found is None:
            raise PaymentNotFound
        if found.customer_id != principal.account_id and principal.role not in ("support", "admin"):
            raise PaymentNotFound
        return found.as_payment()

    def webhook_header(self, provider: str) -> str:
        """The header that signs this provider's callbacks. Raises ProviderNotFound."""
        return self._webhooks.header_of(provider)

    async def receive_webhook(self, provider: str, signature: str | None, body: bytes) -> None:
        """See Webhooks.receive. The signature is what authorises: nobody is logged in."""
        await self._webhooks.receive(provider, signature, body)

    async def reconcile(self, day_ms: Instant | None = None) -> Sequence[Reconciliation]:
        """See Daily.reconcile."""
        return await self._daily.reconcile(day_ms)

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        return await self._auditing.audit()

    def captured_facts(self, after: int = 0) -> AsyncIterator[Sequence[PaymentFact]]:
        """See contracts.audit.AuditsPayments."""
        return self._auditing.captured_facts(after)

    async def captured_facts_of(self, payment_ids: Sequence[int]) -> Sequence[PaymentFact]:
        """See contracts.audit.AuditsPayments."""
        return await self._auditing.captured_facts_of(payment_ids)

    async def close(self) -> None:
        """Carries through what waits and lets go of the connections to the providers."""
        await self._opening.close()
        await self._settling.close()
        for provider in self._till.providers.values():
            await provider.close()
