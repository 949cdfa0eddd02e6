"""How often: the limiter decides, the answer says how much is left, and whoever has a turn later waits for it."""

from __future__ import annotations

import asyncio

import msgspec

from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.settings import RateLimit
from doorbuster.platform.limits.addresses import client_key
from doorbuster.platform.limits.errors import RateLimited
from doorbuster.platform.limits.headers import Applied, rate_limit_headers
from doorbuster.platform.limits.hot import VALUE_MAX
from doorbuster.platform.limits.port import Decision, Limiter

TURN_S_MAX = 10.0
"""Nobody waits longer for a turn, whatever the queue: a request is not kept for as long as that."""


def limited(settings: RateLimit, following: Handler, limiter: Limiter) -> Handler:
    """The handler raises RateLimited, and what the limiter raises when its store is away."""
    by, cost = settings.by, settings.cost

    async def limit(exchange: Exchange) -> None:
        decision = await limiter.take(_key(exchange, by), cost)
        if decision.delay_s and decision.delay_s > exchange.context.within(TURN_S_MAX).left_s():
            decision = _too_late(decision)
        told = [Applied(settings.limiter, limiter.policy, decision)]
        if not decision.allowed:
            raise RateLimited(told)
        exchange.answer_headers += rate_limit_headers(told)
        if decision.delay_s:
            await asyncio.sleep(decision.delay_s)
        await following(exchange)

    return limit


def _too_late(decision: Decision) -> Decision:
    """The turn comes when nobody waits any more. It is lost: those behind it have theirs."""
    return msgspec.structs.replace(decision, allowed=False, retry_after_s=decision.delay_s, delay_s=0.0)


def _key(exchange: Exchange, by: str) -> str:
    if by == "route":
        return exchange.route
    if by == "path":
        return exchange.context.path[:VALUE_MAX]
    principal = exchange.principal if by == "user" else None
    return f"user:{principal.account_id}" if principal is not None else f"address:{client_key(exchange.address)}"
