"""How often: the limiter decides, the answer says how much is left (draft-ietf-httpapi-ratelimit-headers)."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.ports import Decision, Limiter
from doorbuster.edge.gateway.settings import RateLimit
from doorbuster.kernel.errors import TooMany
from doorbuster.platform.http.raw import Headers

POLICIES_KEPT = 256
"""Lines that say what a limiter allows: there are as many as limiters, until a limit is changed."""


def limited(settings: RateLimit, following: Handler, limiter: Limiter) -> Handler:
    """The handler raises TooMany, and what the limiter raises when its store is away."""
    name, by, cost = settings.limiter.encode(), settings.by, settings.cost

    async def limit(exchange: Exchange) -> None:
        decision = await limiter.take(_key(exchange, by), cost)
        exchange.answer_headers += _told(name, decision)
        if not decision.allowed:
            raise TooMany(retry_after_s=max(1, ceil(decision.retry_after_s)))
        await following(exchange)

    return limit


def _key(exchange: Exchange, by: str) -> str:
    if by == "route":
        return exchange.route
    principal = exchange.principal if by == "user" else None
    return f"user:{principal.account_id}" if principal is not None else f"address:{exchange.address}"


def _told(name: bytes, decision: Decision) -> Headers:
    return [
        _policy(name, decision.limit),
        (b"ratelimit", b'"%b";r=%d;t=%d' % (name, max(0, decision.remaining), ceil(max(0.0, decision.reset_s)))),
    ]


@lru_cache(POLICIES_KEPT)
def _policy(name: bytes, limit: int) -> tuple[bytes, bytes]:
    return (b"ratelimit-policy", b'"%b";q=%d' % (name, limit))
