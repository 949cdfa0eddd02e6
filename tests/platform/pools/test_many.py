"""Fan out and in: so many at once, in order, and over when it returns."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from doorbuster.platform.pools import GaveUp, at_most, outcomes_of
from pools_working import Bad, Work, met, quiet


async def test_never_more_than_so_many_and_the_results_in_the_order_of_the_items():
    work = Work()
    waiting = asyncio.ensure_future(at_most(3, range(8), work))
    await met(lambda: work.now == 3)
    work.let(2, 1)  # later ones end first
    await met(lambda: work.begun == [0, 1, 2, 3, 4])
    work.let_all()
    assert await waiting == [0, 10, 20, 30, 40, 50, 60, 70]
    assert work.most == 3


async def test_there_are_as_many_tasks_as_work_at_once_however_many_items():
    before = len(asyncio.all_tasks())
    seen: set[int] = set()

    async def count(_: int) -> None:
        seen.add(len(asyncio.all_tasks()) - before)
        await asyncio.sleep(0)

    await at_most(4, range(10_000), count)
    assert seen == {4}


async def test_an_item_is_taken_when_somebody_is_free_for_it():
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(1_000_000_000):
            taken.append(number)
            yield number

    work = Work()
    waiting = asyncio.ensure_future(at_most(2, numbers(), work))
    await met(lambda: work.now == 2)
    await quiet()
    assert taken == [0, 1]
    work.let(0)
    await met(lambda: taken == [0, 1, 2])
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(work.cancelled) == [1, 2]


async def test_the_first_error_ends_the_others_takes_no_more_and_is_raised_as_it_is():
    work, cause = Work(), ValueError("the cause")
    bad = Bad("first")
    bad.__cause__ = cause
    work.fail(1, bad)
    waiting = asyncio.ensure_future(at_most(3, range(100), work))
    await met(lambda: work.now == 3)
    work.let(1)
    with pytest.raises(Bad) as raised:
        await waiting
    assert raised.value is bad
    assert (raised.value.__cause__, raised.value.__context__) == (cause, None)
    assert (work.begun, sorted(work.cancelled), work.now) == ([0, 1, 2], [0, 2], 0)


async def test_what_failed_in_the_same_moment_is_a_note():
    work = Work()
    work.fail(0, Bad("one"))
    work.fail(1, Bad("two"))
    waiting = asyncio.ensure_future(at_most(2, range(5), work))
    await met(lambda: work.now == 2)
    work.let(0, 1)
    with pytest.raises(Bad, match="one") as raised:
        await waiting
    assert raised.value.__notes__ == ["failed in the same moment: Bad('two')"]


async def test_a_source_that_breaks_ends_the_work_under_way():
    def broken() -> Iterator[int]:
        yield from range(3)
        raise Bad("the source")

    work = Work()
    waiting = asyncio.ensure_future(at_most(2, broken(), work))
    await met(lambda: work.now == 2)
    work.let(0, 2)
    with pytest.raises(Bad, match="the source"):
        await waiting
    assert work.cancelled == [1]


@pytest.mark.filterwarnings("error")
async def test_a_source_that_breaks_before_anything_began():
    def broken() -> Iterator[int]:
        yield 1
        raise Bad

    work = Work()
    with pytest.raises(Bad):
        await at_most(2, broken(), work)
    gc.collect()
    assert work.begun == []


async def test_a_failure_that_was_caught_leaves_no_trace_on_its_caller():
    """A TaskGroup of Python 3.11 leaves its caller counted as cancelled, and time limits around it stop working."""

    async def fail(_: int) -> None:
        await asyncio.sleep(0)
        raise Bad

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            with pytest.raises(Bad):
                await at_most(2, range(2), fail)
            await asyncio.Event().wait()
    me = asyncio.current_task()
    assert me is not None
    assert me.cancelling() == 0


async def test_cancelled_while_something_fails_is_cancelled():
    """Else a loop that logs failures and goes on would never stop: a TaskGroup of Python 3.11 forgets it."""
    work = Work()
    work.fail(0, Bad())
    rounds = 0

    async def for_ever() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            try:
                await at_most(2, range(2), work)
            except Bad:
                await asyncio.Event().wait()

    loop_task = asyncio.ensure_future(for_ever())
    await met(lambda: work.now == 2)
    work.let(0)
    loop_task.cancel()  # both in the same round of the loop
    await asyncio.wait([loop_task], timeout=10)
    assert loop_task.cancelled()
    assert rounds == 1


async def test_work_that_gives_up_by_itself_is_not_lost_without_a_word():
    async def give_up(number: int) -> int:
        if number == 1:
            raise asyncio.CancelledError
        return number

    with pytest.raises(GaveUp):
        await at_most(2, range(4), give_up)
    with pytest.raises(GaveUp):
        await outcomes_of(2, range(4), give_up)


async def test_nothing_to_do():
    assert await at_most(3, [], Work()) == []


async def test_outcomes_hold_errors_where_results_would_be():
    work, bad = Work(), Bad()
    work.fail(1, bad)
    work.let_all()
    assert await outcomes_of(2, range(4), work) == [0, bad, 20, 30]


async def test_outcomes_are_not_taken_for_a_cancellation():
    work = Work()
    waiting = asyncio.ensure_future(outcomes_of(2, range(4), work))
    await met(lambda: work.now == 2)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(work.cancelled) == [0, 1]
