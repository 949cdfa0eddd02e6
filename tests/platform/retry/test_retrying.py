"""Retries: how many, when, and when not. Nothing here waits: the pauses are written down instead."""

from __future__ import annotations

import random

import pytest

from doorbuster.kernel.deadline import Deadline
from doorbuster.platform.retry import (
    RetryBudget,
    Retrying,
    RetrySettings,
    attempt,
    attempt_of_header,
    full_jitter_ms,
    trying,
)


class Lost(Exception):
    """An answer that did not come."""


class Refused(Exception):
    """A no."""


class Asked:
    """Something that fails `times` times; what it saw of each attempt."""

    def __init__(self, times: int = 1_000_000, error: type[Exception] = Lost) -> None:
        self.left, self.error = times, error
        self.attempts: list[int] = []

    async def __call__(self) -> str:
        self.attempts.append(attempt())
        if self.left:
            self.left -= 1
            raise self.error
        return "answer"


class Patience:
    """Retrying whose pauses are noted, not waited for."""

    def __init__(self, settings: RetrySettings | None = None, dice: float | None = None) -> None:
        self.pauses: list[float] = []
        self.settings = settings or RetrySettings()
        seeded = random.Random(7)
        self.retrying = Retrying(lambda: self.settings, seeded.random if dice is None else lambda: dice, self._note)

    async def _note(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def ask(self, asked: Asked, *, idempotent: bool = True, deadline: Deadline | None = None) -> str:
        return await self.retrying.run(
            asked, lambda error: isinstance(error, Lost), idempotent=idempotent, deadline=deadline
        )


async def test_a_lost_answer_is_asked_for_again_and_the_neighbour_can_tell():
    patience, asked = Patience(), Asked(2)
    assert await patience.ask(asked) == "answer"
    assert asked.attempts == [1, 2, 3]
    assert attempt() == 1, "afterwards nobody is a retry"


async def test_tries_are_bounded():
    asked = Asked()
    with pytest.raises(Lost):
        await Patience(RetrySettings(tries_max=3)).ask(asked)
    assert asked.attempts == [1, 2, 3]


@pytest.mark.parametrize("idempotent", [True, False])
async def test_only_what_may_be_repeated_is_and_a_no_is_an_answer(idempotent: bool):
    asked = Asked(error=Lost if not idempotent else Refused)
    with pytest.raises((Lost, Refused)):
        await Patience().ask(asked, idempotent=idempotent)
    assert asked.attempts == [1]


async def test_who_works_for_a_retry_does_not_retry():
    asked = Asked()
    with trying(2), pytest.raises(Lost):
        await Patience().ask(asked)
    assert asked.attempts == [2], "and says so to those it asks"


async def test_three_layers_of_three_tries_do_not_ask_twenty_seven_times():
    asked = Asked()
    inner, middle, outer = (Patience(RetrySettings(tries_max=3, reserve=1000)) for _ in range(3))

    async def through(patience: Patience, work: object) -> str:
        return await patience.retrying.run(work, lambda _: True, idempotent=True)  # type: ignore[arg-type]

    with pytest.raises(Lost):
        await through(outer, lambda: through(middle, lambda: through(inner, asked)))
    assert len(asked.attempts) == 3 + 2 + 2


@pytest.mark.parametrize("requests", [1, 100, 1_000])
async def test_with_the_neighbour_down_calls_are_at_most_a_tenth_more_than_requests(requests: int):
    patience, asked = Patience(RetrySettings(tries_max=10, reserve=0)), Asked()
    for _ in range(requests):
        with pytest.raises(Lost):
            await patience.ask(asked)
    assert requests <= len(asked.attempts) <= 1.1 * requests
    assert requests < 10 or len(asked.attempts) == requests + requests // 10, "and the budget is used"


async def test_an_hour_of_calm_buys_no_storm():
    patience, calm, asked = Patience(RetrySettings(tries_max=10, reserve=10)), Asked(0), Asked()
    for _ in range(10_000):
        await patience.ask(calm)
    for _ in range(100):
        with pytest.raises(Lost):
            await patience.ask(asked)
    assert len(asked.attempts) <= 1.1 * 100 + 10


async def test_nothing_is_begun_that_would_end_after_the_deadline():
    patience, asked = Patience(RetrySettings(first_pause_ms=60_000, pause_max_ms=60_000), dice=0.9), Asked()
    with pytest.raises(Lost):
        await patience.ask(asked, deadline=Deadline.after(1))
    assert (asked.attempts, patience.pauses) == ([1], [])
    assert patience.retrying.budget.tokens == 10, "and nothing was paid for it"


async def test_a_changed_budget_counts_at_once():
    patience, asked = Patience(RetrySettings(reserve=1000)), Asked()
    patience.settings = RetrySettings(budget_percent=0, reserve=0)
    with pytest.raises(Lost):
        await patience.ask(asked)
    assert asked.attempts == [1, 2], "one token may be there"
    with pytest.raises(Lost):
        await patience.ask(asked)
    assert asked.attempts == [1, 2, 1]


@pytest.mark.parametrize(
    ("retry", "dice", "pause_ms"), [(1, 0.0, 0), (1, 0.5, 25), (2, 0.5, 50), (3, 0.5, 100), (9, 0.5, 500)]
)
def test_full_jitter_lies_between_nothing_and_the_bound(retry: int, dice: float, pause_ms: float):
    assert full_jitter_ms(RetrySettings(first_pause_ms=50, pause_max_ms=1_000), retry, dice) == pause_ms


def test_a_budget_of_nothing_saves_up_one_retry():
    budget = RetryBudget(10, 0)
    granted = 0
    for _ in range(1_000):
        budget.deposit()
        granted += budget.take()
    assert granted == 100


@pytest.mark.parametrize(
    ("value", "number"), [(None, 1), (b"", 1), (b"0", 1), (b"1", 1), (b"2", 2), (b"99", 99), (b"999", 1), (b"x", 1)]
)
def test_a_header_says_which_attempt(value: bytes | None, number: int):
    assert attempt_of_header(value) == number
