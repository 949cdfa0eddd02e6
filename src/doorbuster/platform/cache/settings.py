"""What is set for a cache. All of it may change while it is used."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import NeighbourSettings
from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.tree import WrongSetting

PULSE_MS = 250
"""The outbox is looked at at least this often; a cache that allowed itself less would never be trusted."""


class CacheSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    local_entries: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    """At the bound the local tier keeps what is asked for more often."""
    local_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 300_000
    expires_ms: Annotated[int, Meta(ge=1, le=86_400_000)] = 3_600_000
    """In Redis, less the jitter."""
    negative_ms: Annotated[int, Meta(ge=1, le=600_000)] = 2_000
    """How long it is known that something does not exist, in either tier."""
    jitter_percent: Annotated[int, Meta(ge=0, le=90)] = 10
    """Entries expire up to so much earlier, by lot: those that came together do not go together."""
    stale_ms: Annotated[int, Meta(ge=2 * PULSE_MS, le=60_000)] = 2_000
    """No answer is older than this. A process that has not heard of changes for so long reads the database."""
    lease_ms: Annotated[int, Meta(ge=10, le=60_000)] = 3_000
    """So long one process may take to load a key for all; what it loads later is not kept in Redis."""
    wait_ms: Annotated[int, Meta(ge=0, le=10_000)] = 200
    """So long another process is waited for before one loads for oneself."""
    hot_reads: Annotated[int, Meta(ge=1, le=15)] = 2
    """A key that the sketch has seen so often moves from Redis into the local tier. Without Redis each may."""


def _check(settings: CacheSettings, name: str) -> None:
    if settings.wait_ms > settings.lease_ms:
        raise WrongSetting(f"{name}.wait_ms", "must not be above lease_ms")


PRODUCTS = declare("cache.products", CacheSettings, CacheSettings(), lambda set_: _check(set_, "cache.products"))
LISTS = declare(
    "cache.lists",
    CacheSettings,
    CacheSettings(local_entries=200, local_ms=5_000, negative_ms=1_000),
    lambda set_: _check(set_, "cache.lists"),
)
"""Pages of products and the categories: in the local tier only, all of them taken back by any change."""

CACHE_REDIS = declare(
    "resilience.cache",
    NeighbourSettings,
    NeighbourSettings(
        breaker=BreakerSettings(calls_min=5, slow_ms=100, slow_percent=80, open_ms=1_000, probes=1),
        bulkhead=BulkheadSettings(at_once=64, waiting_max=1_024, wait_ms=100),
        limit_ms=250,
    ),
)
"""The Redis of the cache as a neighbour: there is always the database to ask, so nobody waits long for a copy."""
