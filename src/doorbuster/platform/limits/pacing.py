"""Waiting for one's turn in a paced queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from doorbuster.platform.limits.port import Decision, Limiter


async def in_turn(
    limiter: Limiter, key: str, cost: int = 1, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Decision:
    """Returns when the turn has come, or at once when the queue is full.

    Who is cancelled while waiting leaves a turn that nobody uses: places behind it have been given out already.
    """
    decision = await limiter.take(key, cost)
    if decision.delay_s:
        await sleep(decision.delay_s)
    return decision
