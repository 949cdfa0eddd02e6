"""Retries: only of what may be repeated, only within the budget and the deadline, after a pause of full jitter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from doorbuster.kernel.deadline import Deadline
from doorbuster.platform.retry.attempts import attempt, is_retry, trying
from doorbuster.platform.retry.budget import RetryBudget

T = TypeVar("T")


class RetrySettings(Struct, frozen=True, forbid_unknown_fields=True):
    tries_max: Annotated[int, Meta(ge=1, le=10)] = 3
    """Of one request, the first included."""
    first_pause_ms: Annotated[int, Meta(ge=0, le=60_000)] = 50
    """At most so long before the second try; doubled before each further one."""
    pause_max_ms: Annotated[int, Meta(ge=0, le=60_000)] = 1_000
    budget_percent: Annotated[int, Meta(ge=0, le=100)] = 10
    """Retries and hedges are at most so many of the first attempts,"""
    reserve: Annotated[int, Meta(ge=0, le=10_000)] = 10
    """and these."""


def full_jitter_ms(settings: RetrySettings, retry: int, dice: float) -> float:
    """The pause before a retry (1 is the first): uniform between nothing and what exponential back-off allows.

    Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): of the ways compared there, the one with
    the least work done. `dice` is in [0, 1).
    """
    return dice * min(settings.pause_max_ms, settings.first_pause_ms * 2 ** (retry - 1))


class Retrying:
    """`dice` gives numbers in [0, 1); `sleep` takes seconds."""

    def __init__(
        self,
        settings: Callable[[], RetrySettings],
        dice: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._dice = dice
        self._sleep = sleep
        first = settings()
        self.budget = RetryBudget(first.budget_percent, first.reserve)

    async def run(
        self,
        work: Callable[[], Awaitable[T]],
        worth_another: Callable[[Exception], bool],
        *,
        idempotent: bool,
        deadline: Deadline | None = None,
    ) -> T:
        """What `work` returns, or raises last. While it runs again, `attempts.attempt()` says the how manieth time."""
        settings = self._settings()
        self.budget.change(settings.budget_percent, settings.reserve)
        repeatable = idempotent and not is_retry()
        self.budget.deposit()
        number = attempt()
        retries = 0
        while True:
            try:
                with trying(number):
                    return await work()
            except Exception as error:
                retries += 1
                if not repeatable or retries >= settings.tries_max or not worth_another(error):
                    raise
                pause_s = full_jitter_ms(settings, retries, self._dice()) / 1000
                if deadline is not None and deadline.left_s() <= pause_s:
                    raise
                if not self.budget.take():
                    raise
            await self._sleep(pause_s)
            number += 1
