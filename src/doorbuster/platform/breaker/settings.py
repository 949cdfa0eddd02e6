"""Thresholds of a breaker. They may change while it runs: they are read at each decision."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

State = Literal["closed", "open", "half_open"]
Force = Literal["auto", "open", "closed"]
"""`open`: nobody is let through; `closed`: everybody is; whatever the counts say."""

Percent = Annotated[int, Meta(ge=1, le=100)]
Millis = Annotated[int, Meta(ge=1, le=3_600_000)]


class BreakerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    window_ms: Annotated[int, Meta(ge=100, le=3_600_000)] = 10_000
    """Calls that ended within this time are counted, in steps of `window_ms / buckets`."""
    buckets: Annotated[int, Meta(ge=1, le=100)] = 10
    calls_min: Annotated[int, Meta(ge=1, le=1_000_000)] = 20
    """With fewer calls in the window nothing is concluded from them."""
    failed_percent: Percent = 50
    slow_ms: Millis = 5_000
    """A call that takes longer is slow, whatever comes of it."""
    slow_percent: Percent = 100
    open_ms: Millis = 5_000
    """So long the neighbour is left alone."""
    probes: Annotated[int, Meta(ge=1, le=1_000)] = 3
    """So many calls are let through afterwards; what comes of them decides."""
    half_open_ms: Millis = 30_000
    """Probes that have not decided within this time count as failed."""
