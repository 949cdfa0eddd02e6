"""One neighbour (or one instance of it), and the one way to call it.

A call gets a place in the bulkhead for its whole length; inside, each try asks the breaker and is limited in time; what
is idempotent is tried again within budget and deadline. The breaker stands inside the retries: so it hears of every
try, a probe is one try and not three, and retries end when it opens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from msgspec import Struct

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.breaker import Breaker, CircuitOpen, Snapshot
from doorbuster.platform.bulkhead import Bulkhead
from doorbuster.platform.neighbour.judging import COMMON, Judge
from doorbuster.platform.neighbour.settings import NeighbourSettings
from doorbuster.platform.retry import Hedging, Retrying

T = TypeVar("T")


class TooSlow(Unavailable):
    """There was no answer within the time limit. Whether the neighbour acted is not known."""


class NeighbourSnapshot(Struct, frozen=True):
    name: str
    instance: str
    breaker: Snapshot
    under_way: int
    waiting: int
    overloaded: int
    retry_tokens: float
    hedges: int


class Neighbour:
    """`settings` are read at each decision; `now_ms` never goes back; `dice` gives numbers in [0, 1)."""

    def __init__(
        self,
        name: str,
        instance: str,
        settings: Callable[[], NeighbourSettings],
        now_ms: Callable[[], int],
        dice: Callable[[], float],
    ) -> None:
        self.name, self.instance = name, instance
        self._settings = settings
        self.breaker = Breaker(lambda: settings().breaker, now_ms, lambda: settings().forced)
        self.bulkhead = Bulkhead(lambda: settings().bulkhead)
        self.retrying = Retrying(lambda: settings().retry, dice)
        self.hedging = Hedging(lambda: settings().hedge, self.retrying.budget, now_ms)

    async def call(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        judge: Judge = COMMON,
        idempotent: bool = False,
        read: bool = False,
        limit_s: float | None = None,
        deadline: Deadline | None = None,
    ) -> T:
        """What `work` returns. `idempotent`: may be repeated. `read`: may be hedged too. `limit_s` replaces the
        settings' time limit.

        Raises CircuitOpen and Overloaded (nothing was done), TooSlow, and what `work` raises last.
        """
        ends = _earlier(deadline, limit_s if limit_s is not None else self._settings().limit_ms / 1000)
        if ends.passed():
            raise Overloaded("the deadline passed before the work began")
        trying = partial(self._try, work, judge, ends)
        step = partial(self.hedging.run, trying) if read else trying
        async with self.bulkhead.place(ends.left_s()):
            try:
                return await self.retrying.run(
                    step, partial(_worth_another, judge), idempotent=idempotent or read, deadline=ends
                )
            except _Refused as refused:
                raise refused.why from None

    def busy(self) -> bool:
        """Whether anybody is inside or waits."""
        return self.bulkhead.under_way > 0 or self.bulkhead.waiting > 0

    def snapshot(self) -> NeighbourSnapshot:
        return NeighbourSnapshot(
            self.name,
            self.instance,
            self.breaker.snapshot(),
            self.bulkhead.under_way,
            self.bulkhead.waiting,
            self.bulkhead.refused,
            self.retrying.budget.tokens,
            self.hedging.hedges,
        )

    async def _try(self, work: Callable[[], Awaitable[T]], judge: Judge, ends: Deadline) -> T:
        """Raises _Refused, TooSlow, and what `work` raises."""
        try:
            permit = self.breaker.ask()
        except CircuitOpen as refused:
            raise _Refused(refused) from refused
        limit = asyncio.timeout(max(0.0, ends.left_s()))
        try:
            async with limit:
                answer = await work()
        except Exception as error:
            slow = isinstance(error, TimeoutError) and limit.expired()
            permit.end("failed" if slow or judge.fails(error) else "good")
            if slow:
                raise TooSlow("a part of the shop did not answer in time") from error
            raise
        except BaseException:
            permit.end("given_up")
            raise
        permit.end("good")
        return answer


class _Refused(Exception):
    """Our own breaker is open, which is no answer of the neighbour."""

    def __init__(self, why: CircuitOpen) -> None:
        super().__init__(str(why))
        self.why = why


def _worth_another(judge: Judge, error: Exception) -> bool:
    return not isinstance(error, (_Refused, TooSlow)) and judge.worth_another(error)


def _earlier(deadline: Deadline | None, limit_s: float) -> Deadline:
    own = Deadline.after(limit_s)
    return own if deadline is None or own.at_s <= deadline.at_s else deadline
