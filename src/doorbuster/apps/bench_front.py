"""The gateway as the bench measures it at its fullest: limiter and shedder keep their books, and refuse nobody."""

from __future__ import annotations

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
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.settings import UNITS_MAX, LimitSettings

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


def wide_limiter() -> LocalLimiter:
    """The token buckets of the shop, wide enough for everybody: what counts here is what the counting costs."""
    terms = LimitSettings(limit=UNITS_MAX, period_s=1.0, burst=UNITS_MAX)
    return LocalLimiter(TokenBucket(), lambda: terms)


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
