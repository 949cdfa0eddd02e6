"""What every use case of payments works with: the books, the clock, and the providers behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from doorbuster.contexts.payments.model import Disagreement, Intent, Pace, PaymentRecord, require_agreement
from doorbuster.contexts.payments.provider import IntentUnknown, Provider
from doorbuster.contracts.payments import ProviderNotFound
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.pools import at_most
from doorbuster.platform.sql.database import Database

CONTEXT = "payments"

log = structlog.get_logger(CONTEXT)


@dataclass(frozen=True)
class Till:
    """Shared by the use cases of one process."""

    database: Database
    clock: Clock
    ids: Snowflake
    wakeups: Wakeups
    providers: Mapping[str, Provider]
    pace: Pace
    default: str = ""
    """The provider that opens new payments; empty: the first one."""

    def provider(self, name: str) -> Provider:
        """Raises ProviderNotFound."""
        provider = self.providers.get(name)
        if provider is None:
            raise ProviderNotFound(provider=name[:64])
        return provider

    def provider_of(self, payment: PaymentRecord) -> Provider:
        """Raises Unavailable when the payment's provider is not connected in this process."""
        provider = self.providers.get(payment.provider)
        if provider is None:
            raise Unavailable(f"the payment provider {payment.provider} is not connected")
        return provider

    def default_provider(self) -> Provider:
        """Where new payments are opened. Raises Unavailable."""
        if self.default:
            return self.providers[self.default]
        for provider in self.providers.values():
            return provider
        raise Unavailable("no payment provider is connected")

    async def look_up(self, payment: PaymentRecord) -> Intent:
        """What the provider says about a payment. Raises Unavailable, IntentUnknown, Disagreement."""
        return require_agreement(payment, await self.provider_of(payment).get_intent(payment))

    async def ask_all(
        self, payments: Sequence[PaymentRecord], question: Callable[[PaymentRecord], Awaitable[Intent]]
    ) -> list[tuple[PaymentRecord, Intent]]:
        """The answers that were given and agree with our rows; those missing are asked for another time."""
        outage = Outage(self.pace.outages_max)

        async def ask(payment: PaymentRecord) -> Intent | None:
            if outage.lasts:
                return None
            try:
                return await question(payment)
            except Unavailable as away:
                outage.count()
                log.warning("provider away", payment_id=payment.id, error=repr(away))
            except IntentUnknown:
                log.exception("the provider does not know this payment", payment_id=payment.id)
            except Disagreement:
                log.exception("the provider disagrees", payment_id=payment.id)
            return None

        answers = await at_most(self.pace.at_once, payments, ask)
        return [(payment, intent) for payment, intent in zip(payments, answers, strict=True) if intent is not None]


class Outage:
    """Counts unanswered questions: after some, the provider is taken to be away for the rest of the page."""

    def __init__(self, unanswered_max: int) -> None:
        self._left = unanswered_max

    @property
    def lasts(self) -> bool:
        return self._left <= 0

    def count(self) -> None:
        self._left -= 1
