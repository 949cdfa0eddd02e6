"""What is set for a neighbour. All of it may change while calls are under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct, field

from doorbuster.platform.breaker import BreakerSettings
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.retry import HedgeSettings, RetrySettings


class NeighbourSettings(Struct, frozen=True, forbid_unknown_fields=True):
    breaker: BreakerSettings = BreakerSettings()
    bulkhead: BulkheadSettings = BulkheadSettings()
    retry: RetrySettings = RetrySettings()
    hedge: HedgeSettings = HedgeSettings()
    limit_ms: Annotated[int, Meta(ge=1, le=600_000)] = 5_000
    """A call with all its tries and pauses ends within this time, or at the caller's deadline if that is earlier."""


class ResilienceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`neighbours`: by name, such as `payments.simulator`; who is not named keeps what the code declares for it."""

    neighbours: Annotated[Mapping[str, NeighbourSettings], Meta(max_length=100)] = field(
        default_factory=dict[str, NeighbourSettings]
    )
