"""How much the server takes on at once, and what goes first when that is too much: runtime settings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.kernel.priority import Priority
from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.tree import WrongSetting

Percent = Annotated[int, Meta(ge=1, le=100)]
Places = Annotated[int, Meta(ge=1, le=100_000)]


class SheddingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = True
    """Off: everybody is let in. Round trips are still watched."""
    limit_min: Places = 352
    """Requests under way that are always allowed. With 4 to 32 commits had little company: half the work."""
    limit_initial: Places = 352
    """At the start, and again after a while without pressure."""
    limit_max: Places = 2_048
    tolerance: Annotated[float, Meta(ge=1.0, le=100.0)] = 2.0
    """A round trip may take so many times the shortest of its kind..."""
    fast_enough_ms: Annotated[float, Meta(ge=0.1, le=10_000)] = 100.0
    """...or this: waiting that nobody notices is no overload, and it is what fills the batches of group commit. With 15
    a sale's first second shrank the limit for good."""
    window_ms: Annotated[int, Meta(ge=10, le=10_000)] = 200
    """How often the limit is worked out anew."""
    samples_min: Annotated[int, Meta(ge=1, le=1_000)] = 16
    """A window with fewer round trips says nothing about them."""
    minimum_kept_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 30_000
    """How long the shortest round trip is believed; then it is measured again."""
    lag_max_ms: Annotated[float, Meta(ge=1, le=10_000)] = 100.0
    """When the event loop comes so late, the limit falls whatever the round trips say."""
    claim_percent: Percent = 95
    """Of the limit that may be in use when a claim, or another change, is let in. Payments may use all of it."""
    browse_percent: Percent = 75
    analytics_percent: Percent = 50
    retry_after_s: Annotated[int, Meta(ge=1, le=3_600)] = 1

    def percent_of(self, priority: Priority) -> int:
        match priority:
            case Priority.PAY:
                return 100
            case Priority.CLAIM:
                return self.claim_percent
            case Priority.BROWSE:
                return self.browse_percent
            case Priority.ANALYTICS:
                return self.analytics_percent


def check(settings: SheddingSettings) -> None:
    """Raises WrongSetting."""
    if not settings.limit_min <= settings.limit_initial <= settings.limit_max:
        raise WrongSetting("shedding.limit_initial", "must lie between limit_min and limit_max")
    if not settings.analytics_percent <= settings.browse_percent <= settings.claim_percent:
        raise WrongSetting("shedding.browse_percent", "must lie between analytics_percent and claim_percent")


SHEDDING = declare("shedding", SheddingSettings, SheddingSettings(), check)
