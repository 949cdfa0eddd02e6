"""Hedged reads against a neighbour that answers when the test says so."""

from __future__ import annotations

import asyncio

import pytest

from doorbuster.platform.retry import HedgeSettings, Hedging, RetryBudget, attempt, trying
from platform_ticking import Ticking

SETTINGS = HedgeSettings(enabled=True, samples_min=20, after_ms_min=0)


class Shelf:
    """Each read waits to be answered; who was cancelled is noted."""

    def __init__(self) -> None:
        self.reads: list[asyncio.Future[str]] = []
        self.attempts: list[int] = []
        self.cancelled = 0

    async def __call__(self) -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.reads.append(answer)
        self.attempts.append(attempt())
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.reads) < times:
                await asyncio.sleep(0)


def hedging(budget: RetryBudget | None = None, settings: HedgeSettings = SETTINGS) -> Hedging:
    return Hedging(lambda: settings, budget or RetryBudget(10, 10), Ticking())


async def warm(hedge: Hedging, answers: int = 20) -> None:
    async def at_once() -> str:
        return "quick"

    for _ in range(answers):
        await hedge.run(at_once)


async def test_the_second_read_wins_and_the_first_is_cancelled():
    hedge, shelf = hedging(), Shelf()
    await warm(hedge)
    reading = asyncio.ensure_future(hedge.run(shelf))
    await shelf.asked(2)
    shelf.reads[1].set_result("second")
    assert await reading == "second"
    assert (shelf.cancelled, shelf.attempts, hedge.hedges) == (1, [1, 2], 1)


async def test_the_first_read_may_win_still():
    hedge, shelf = hedging(), Shelf()
    await warm(hedge)
    reading = asyncio.ensure_future(hedge.run(shelf))
    await shelf.asked(2)
    shelf.reads[0].set_result("first")
    assert (await reading, shelf.cancelled) == ("first", 1)


async def test_one_that_fails_leaves_the_other_its_chance():
    hedge, shelf = hedging(), Shelf()
    await warm(hedge)
    reading = asyncio.ensure_future(hedge.run(shelf))
    await shelf.asked(2)
    shelf.reads[1].set_exception(OSError("lost"))
    await asyncio.sleep(0)
    shelf.reads[0].set_result("first")
    assert await reading == "first"
    reading = asyncio.ensure_future(hedge.run(shelf))
    await shelf.asked(4)
    for read in shelf.reads[2:]:
        read.set_exception(OSError("lost"))
    with pytest.raises(OSError, match="lost"):
        await reading


async def test_whoever_gives_up_leaves_nobody_behind():
    hedge, shelf = hedging(), Shelf()
    await warm(hedge)
    reading = asyncio.ensure_future(hedge.run(shelf))
    await shelf.asked(2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert shelf.cancelled == 2


async def test_hedges_are_paid_for_and_end_with_the_budget():
    budget = RetryBudget(0, 3)
    hedge, shelf = hedging(budget), Shelf()
    await warm(hedge)
    readings = [asyncio.ensure_future(hedge.run(shelf)) for _ in range(10)]
    await shelf.asked(13)
    for _ in range(50):
        await asyncio.sleep(0)
    for read in shelf.reads:
        read.set_result("answer")
    assert await asyncio.gather(*readings) == ["answer"] * 10
    assert (len(shelf.reads), hedge.hedges, budget.tokens) == (13, 3, 0)


async def test_nothing_is_hedged_that_is_a_retry_or_not_known_well_enough_or_not_wanted():
    hedge = hedging()
    assert hedge.after_ms() is None
    await warm(hedge)
    assert hedge.after_ms() == 0
    with trying(2):
        assert hedge.after_ms() is None
    unwanted = hedging(settings=HedgeSettings(samples_min=1))
    await warm(unwanted)
    assert unwanted.after_ms() is None


async def test_it_hedges_after_the_percentile_within_bounds():
    time = Ticking()
    settings = HedgeSettings(enabled=True, after_ms_min=5, after_ms_max=90)
    hedge = Hedging(lambda: settings, RetryBudget(0, 0), time)

    async def takes(ms: int) -> None:
        time.advance(ms)

    for ms in range(1, 101):
        await hedge.run(lambda ms=ms: takes(ms))
    # Of 1 … 96, as it was last computed: the 95th percentile is above the bound.
    assert hedge.after_ms() == 90
    for _ in range(400):
        await hedge.run(lambda: takes(1))
    assert hedge.after_ms() == 5, "old answers are forgotten"
