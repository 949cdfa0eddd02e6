"""The gateway as the bench measures it at its fullest: limiter and shedder keep their books, and refuse nobody."""

from __future__ import annotations

import time

from msgspec import Struct

from doorbuster.edge.gateway.settings import (
    Authentication,
    GatewaySettings,
    RateLimit,
    RequestLog,
    Route,
    Shedding,
)
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.priority import Priority

KEYS_MAX = 100_000
RATE_PER_S, BURST = 1e6, 1e6
IN_FLIGHT_MAX = 100_000

FULL = GatewaySettings(
    routes=(
        Route("claims", "/v1/sales/{sale}/claims", methods=("POST",), priority="claim"),
        Route("payments", "/v1/payments/**", priority="pay"),
        Route("everything", "/**"),
    ),
    plugins=(
        RequestLog(percent=1.0),
        Authentication(),
        RateLimit("claims", by="user"),
        Shedding(),
    ),
)


class Taken(Struct, frozen=True, gc=False):
    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float


class TokenBuckets:
    """A token bucket for each key, wide enough for everybody: what counts here is what the counting costs."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    async def take(self, key: str, cost: int = 1) -> Taken:
        now_s = time.monotonic()
        left, at_s = self._buckets.get(key, (BURST, now_s))
        left = min(BURST, left + (now_s - at_s) * RATE_PER_S) - cost
        if len(self._buckets) >= KEYS_MAX:
            self._buckets.clear()
        self._buckets[key] = left, now_s
        return Taken(left >= 0, int(BURST), int(left), (BURST - left) / RATE_PER_S, max(0.0, -left / RATE_PER_S))


class Places:
    """So many requests at once, those of low priority half as many."""

    def __init__(self) -> None:
        self._inside = 0
        self._smoothed_s = 0.0

    def enter(self, priority: Priority, deadline: Deadline | None) -> None:
        bound = IN_FLIGHT_MAX if priority <= Priority.CLAIM else IN_FLIGHT_MAX // 2
        if self._inside >= bound or (deadline is not None and deadline.left_s() < self._smoothed_s):
            raise Overloaded
        self._inside += 1

    def leave(self, took_s: float) -> None:
        self._inside -= 1
        self._smoothed_s += (took_s - self._smoothed_s) / 64
