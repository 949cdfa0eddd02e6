"""Waiting for one's turn."""

from __future__ import annotations

import asyncio

from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
from doorbuster.platform.limits.local import LocalLimiter
from doorbuster.platform.limits.pacing import in_turn
from doorbuster.platform.limits.settings import LimitSettings

from .bench import NOW_US


async def test_turns_come_at_the_pace_and_a_full_queue_answers_at_once():
    settings = LimitSettings(limit=10, period_s=1.0, queue=3)
    limiter = LocalLimiter(LeakyBucket(), lambda: settings, now_us=lambda: NOW_US)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    decisions = await asyncio.gather(*[in_turn(limiter, "k", sleep=sleep) for _ in range(6)])
    assert slept == [0.1, 0.2, 0.3]
    assert [each.allowed for each in decisions] == [True] * 4 + [False] * 2


async def test_a_turn_is_waited_for_in_real_time():
    settings = LimitSettings(limit=100, period_s=1.0, queue=1)
    limiter = LocalLimiter(LeakyBucket(), lambda: settings)
    began_s = asyncio.get_running_loop().time()
    await asyncio.gather(in_turn(limiter, "k"), in_turn(limiter, "k"))
    assert asyncio.get_running_loop().time() - began_s >= 0.009
