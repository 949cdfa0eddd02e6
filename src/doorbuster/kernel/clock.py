"""Time as an argument. An instant is an int: milliseconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

Instant = int
"""Milliseconds since the Unix epoch, UTC."""


class Clock(Protocol):
    def now_ms(self) -> Instant: ...


class SystemClock:
    def now_ms(self) -> Instant:
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that only moves when told to: for simulations and tests."""

    def __init__(self, now_ms: Instant) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> Instant:
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        self._now_ms += by_ms


def rfc3339(instant: Instant) -> str:
    """`1767225600123` → `"2026-01-01T00:00:00.123Z"`."""
    seconds, millis = divmod(instant, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{millis:03d}Z"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def parse_rfc3339(text: str) -> Instant:
    """The instant of an RFC 3339 time with an offset, in the years 1 to 9999 of UTC, so that `rfc3339` can write it.

    Raises ValueError on anything else.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"not an RFC 3339 time with an offset: {text!r}")
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"not within the years 1 to 9999 of UTC: {text!r}") from error
    return (moment - _EPOCH) // _MILLISECOND
