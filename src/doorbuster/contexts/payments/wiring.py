"""Builds the payments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from doorbuster.contexts.payments.events import consumers
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.provider import Provider
from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.till import CONTEXT, Till
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.payments.migrations")
LEASES_PER_TIMEOUT = 2


@dataclass(frozen=True)
class PaymentsContext:
    """`close` is awaited when the process ends."""

    service: PaymentsService
    context: Context
    close: Callable[[], Awaitable[None]]


def build(
    platform: Platform, database: Database, webhook_secrets: Sequence[str], pace: Pace | None = None
) -> PaymentsContext:
    """`webhook_secrets` are accepted, newest first. `pace` is changed by tests only.

    Raises ValueError when a provider is connected and there is no secret to know its callbacks by.
    """
    settings = platform.settings.payments
    if settings.simulator_url and not webhook_secrets:
        raise ValueError("a payment provider is connected, so payments need a webhook secret")
    lease_ms = round(settings.provider_timeout_s * 1000) * LEASES_PER_TIMEOUT
    till = Till(
        database,
        platform.clock,
        platform.ids,
        platform.wakeups,
        _providers(platform.settings),
        pace or Pace(lease_ms=lease_ms),
    )
    service = PaymentsService(till, Verifier(webhook_secrets, settings.webhook_tolerance_s))

    def faces() -> Faces:
        from doorbuster.contexts.payments import http

        return Faces(http.routes(service))

    context = Context(
        name=CONTEXT,
        database=database,
        history=HISTORY,
        faces=faces,
        consumers=consumers(service),
        tasks=(
            BackgroundTask("payments-refunds", "back", service.refunding.run),
            BackgroundTask("payments-reconciliation", "back", service.reconciling.run),
        ),
    )
    return PaymentsContext(service, context, service.close)


def _providers(settings: Settings) -> Mapping[str, Provider]:
    """Those that are connected; the first opens new payments."""
    if not settings.payments.simulator_url:
        return {}
    # Only here: its HTTP client is not for processes without a provider.
    from doorbuster.contexts.payments.simulator import NAME, PaymentSimulator

    simulator = PaymentSimulator(
        settings.payments.simulator_url, webhook_url(settings, NAME), settings.payments.provider_timeout_s
    )
    return {NAME: simulator}


def webhook_url(settings: Settings, provider: str) -> str:
    """Where a provider calls back."""
    http = settings.http
    host = f"[{http.host}]" if ":" in http.host else http.host
    base = http.public_url.rstrip("/") or f"http://{host}:{http.port}"
    return f"{base}/v1/payments/webhooks/{provider}"
