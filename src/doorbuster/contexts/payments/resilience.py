"""How payment providers are called: see docs/resilience.md. Each is a neighbour: `payments.simulator` and so on."""

from __future__ import annotations

from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import NeighbourSettings
from doorbuster.platform.retry import RetrySettings
from doorbuster.platform.settings.declared import declare

AT_ONCE = 32
"""Also the connections of one provider's client."""

TRIES_MAX = 4

PROVIDERS = declare(
    "resilience.payment_providers",
    NeighbourSettings,
    NeighbourSettings(
        breaker=BreakerSettings(slow_ms=3_000, slow_percent=80),
        bulkhead=BulkheadSettings(at_once=AT_ONCE, waiting_max=1_000),
        retry=RetrySettings(tries_max=TRIES_MAX, reserve=20),
    ),
)
"""`limit_ms` is `payments.provider_timeout_s` here."""
