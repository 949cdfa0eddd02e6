"""How Redis is called as a neighbour, and what bounds the way to it."""

from __future__ import annotations

from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import NeighbourSettings
from doorbuster.platform.settings.declared import declare

TIMEOUT_S = 1.0
"""For a command: its way there, its answer, and a connection if there is none."""
CONNECTIONS_MAX = 64
"""To one server."""

REDIS = declare(
    "resilience.redis",
    NeighbourSettings,
    NeighbourSettings(
        breaker=BreakerSettings(calls_min=5, slow_ms=500, slow_percent=80, open_ms=1_000, probes=1),
        bulkhead=BulkheadSettings(at_once=CONNECTIONS_MAX, waiting_max=8_192, wait_ms=2_000),
        limit_ms=3_000,
    ),
)
"""Asked for each hold, so it is left alone sooner and tried again sooner than others."""
