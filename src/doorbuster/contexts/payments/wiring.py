"""Builds the payments."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from doorbuster.contexts.payments.callbacks import simulator_door, stripe_door
from doorbuster.contexts.payments.events import consumers
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.provider import Provider
from doorbuster.contexts.payments.resilience import PROVIDERS
from doorbuster.contexts.payments.service import PaymentsService
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.till import CONTEXT, Till
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.neighbour import Neighbour
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
    if settings.stripe_url and not (settings.stripe_secret_key and settings.stripe_webhook_secrets):
        raise ValueError("payments.stripe_url needs payments.stripe_secret_key and payments.stripe_webhook_secrets")
    providers = _providers(platform)
    if settings.default_provider != "auto" and settings.default_provider not in providers:
        raise ValueError(f"payments.default_provider is {settings.default_provider}, which is not connected")
    lease_ms = round(settings.provider_timeout_s * 1000) * LEASES_PER_TIMEOUT
    till = Till(
        database,
        platform.clock,
        platform.ids,
        platform.wakeups,
        providers,
        pace or Pace(lease_ms=lease_ms),
        "" if settings.default_provider == "auto" else settings.default_provider,
    )
    tolerance_s = settings.webhook_tolerance_s
    doors = {
        "simulator": simulator_door(Verifier(webhook_secrets, tolerance_s)),
        "stripe": stripe_door(Verifier(settings.stripe_webhook_secrets, tolerance_s, other_schemes=True)),
    }
    service = PaymentsService(till, doors)

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


def _providers(platform: Platform) -> Mapping[str, Provider]:
    """Those that are connected; unless the settings name another, the first opens new payments."""
    settings, connected = platform.settings.payments, dict[str, Provider]()
    # Only here: their HTTP client is not for processes without a provider.
    if settings.simulator_url:
        from doorbuster.contexts.payments import simulator

        callbacks = webhook_url(platform.settings, simulator.NAME)
        connected[simulator.NAME] = simulator.PaymentSimulator(
            settings.simulator_url,
            callbacks,
            settings.provider_timeout_s,
            neighbour=_neighbour(platform, simulator.NAME),
        )
    if settings.stripe_url:
        from doorbuster.contexts.payments import stripe_protocol

        connected[stripe_protocol.NAME] = stripe_protocol.PaymentIntentsProvider(
            settings.stripe_url,
            settings.stripe_secret_key,
            platform.clock,
            settings.provider_timeout_s,
            settings.stripe_checkout_url,
            neighbour=_neighbour(platform, stripe_protocol.NAME),
        )
    return connected


def _neighbour(platform: Platform, provider: str) -> Neighbour:
    return platform.neighbours.get(f"payments.{provider}", settings=platform.runtime.live(PROVIDERS))


def webhook_url(settings: Settings, provider: str) -> str:
    """Where a provider calls back."""
    http = settings.http
    host = f"[{http.host}]" if ":" in http.host else http.host
    base = http.public_url.rstrip("/") or f"http://{host}:{http.port}"
    return f"{base}/v1/payments/webhooks/{provider}"
