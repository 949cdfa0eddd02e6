"""Thresholds. They are read at each decision, so that a change is live at once."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

UNITS_MAX = 1_000_000

Units = Annotated[int, Meta(ge=0, le=UNITS_MAX)]


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`limit` units in `period_s` seconds. A limit of 0 refuses everybody."""

    limit: Units = 100
    period_s: Annotated[float, Meta(ge=0.001, le=31 * 86_400)] = 60.0
    burst: Units = 0
    """Token bucket: how many may be taken at once after a pause; 0: as many as `limit`."""
    queue: Units = 0
    """Leaky bucket: how many may wait for their turn behind the one whose turn it is."""
    enabled: bool = True
    """False: everything is allowed and nothing is counted."""

    @property
    def period_us(self) -> int:
        return round(self.period_s * 1_000_000)

    @property
    def capacity(self) -> int:
        """Of the token bucket."""
        return self.burst or self.limit


def share_of(settings: LimitSettings, instances: int) -> LimitSettings:
    """What one of `instances` may admit on its own: together never more than the whole, so rounded down, even to 0."""
    burst = settings.capacity // instances
    return msgspec.structs.replace(
        settings,
        limit=settings.limit // instances if burst else 0,
        burst=burst,
        queue=max(0, (settings.queue + 1) // instances - 1),
    )
