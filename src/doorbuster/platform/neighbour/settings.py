"""What is set for a neighbour. All of it may change while calls are under way."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.platform.breaker import BreakerSettings, Force
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.retry import HedgeSettings, RetrySettings


class NeighbourSettings(Struct, frozen=True, forbid_unknown_fields=True):
    breaker: BreakerSettings = BreakerSettings()
    bulkhead: BulkheadSettings = BulkheadSettings()
    retry: RetrySettings = RetrySettings()
    hedge: HedgeSettings = HedgeSettings()
    forced: Force = "auto"
    """Its breakers, in every process: `open` switches the neighbour off, `closed` the breaker."""
    limit_ms: Annotated[int, Meta(ge=1, le=600_000)] = 5_000
    """A call with all its tries and pauses ends within this time, or at the caller's deadline if that is earlier."""
