"""So many workers, a bounded queue, an answer for each, and nothing left when it is closed."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.pools import PoolSettings, WorkerPool
from pools_working import Bad, Work, met, quiet

BOUND = ContextVar("BOUND", default="nothing")


def tasks_named(name: str) -> int:
    return sum(task.get_name() == name for task in asyncio.all_tasks())


async def test_so_many_work_so_many_wait_and_the_next_is_refused_or_waits_for_a_place():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=2, waiting_max=3)) as pool:
        answers = [pool.offer(n) for n in range(5)]
        await met(lambda: work.now == 2)
        for _ in range(100):
            with pytest.raises(Overloaded):
                pool.offer(99)
        later = [asyncio.ensure_future(pool.ask(n)) for n in (5, 6)]
        await met(lambda: pool.submitting == 2)
        assert (pool.under_way, pool.waiting, pool.room, pool.refused) == (2, 3, 0, 100)
        work.let_all()
        assert await asyncio.gather(*answers, *later) == [0, 10, 20, 30, 40, 50, 60]
        assert (work.most, work.begun) == (2, list(range(7))), "in order of arrival"


async def test_who_waits_for_a_place_is_bounded_too():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1, waiting_max=0, submitting_max=2)) as pool:
        asking = [asyncio.ensure_future(pool.ask(n)) for n in range(3)]
        await met(lambda: pool.submitting == 2)
        with pytest.raises(Overloaded, match="too many wait"):
            await pool.submit(9)
        work.let_all()
        assert await asyncio.gather(*asking) == [0, 10, 20]


async def test_offers_do_not_overtake_who_waits_for_a_place():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1, waiting_max=1)) as pool:
        asking = [asyncio.ensure_future(pool.ask(n)) for n in range(3)]
        await met(lambda: pool.submitting == 1)
        work.let(0)
        await asking[0]
        with pytest.raises(Overloaded):
            pool.offer(9)
        work.let_all()
        await asyncio.gather(*asking)
        assert work.begun == [0, 1, 2]


async def test_an_error_is_its_callers_and_the_worker_goes_on():
    work = Work()
    for number in range(0, 100, 2):
        work.fail(number, Bad(number))
    work.let_all()
    async with WorkerPool(work, PoolSettings(workers=1), name="one-worker") as pool:
        answers = [await pool.submit(n) for n in range(100)]
        assert tasks_named("one-worker") == 1
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Bad, int] * 50


async def test_workers_come_with_the_work_and_go_when_there_is_none():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=3), name="comers") as pool:
        assert tasks_named("comers") == 0
        answers = [pool.offer(n) for n in range(50)]
        await met(lambda: work.now == 3)
        assert tasks_named("comers") == 3
        work.let_all()
        await asyncio.gather(*answers)
        await pool.idle()
        assert tasks_named("comers") == 0
        assert await pool.ask(50) == 500, "and come again"


async def test_a_caller_who_goes_takes_the_item_along_wherever_it_is():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1, waiting_max=1), name="taken-along") as pool:
        working, waiting, submitting, last = (asyncio.ensure_future(pool.ask(n)) for n in range(4))
        await met(lambda: pool.submitting == 2 and work.now == 1)
        worker = next(task for task in asyncio.all_tasks() if task.get_name() == "taken-along")
        submitting.cancel()
        waiting.cancel()
        working.cancel()
        work.let(3)
        assert await last == 30
        assert not worker.cancelled()
        assert (work.begun, work.cancelled) == ([0, 3], [0])
        assert all(task.cancelled() for task in (working, waiting, submitting))
    assert (pool.under_way, pool.waiting, pool.submitting, worker.cancelling()) == (0, 0, 0, 0)


async def test_cancelling_the_last_caller_does_not_touch_the_workers_next_item():
    """Both in one round of the loop: the work is over, its caller goes, the worker has begun on another's."""
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1)) as pool:
        first, second = pool.offer(0), pool.offer(1)
        await met(lambda: work.now == 1)
        work.let(0)
        await met(first.done)
        assert not first.cancel()
        await met(lambda: work.begun == [0, 1])
        work.let(1)
        assert await second == 10
        assert work.cancelled == []


async def test_a_place_given_in_the_moment_of_going_is_given_back():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1, waiting_max=0)) as pool:
        first, second, third = (asyncio.ensure_future(pool.ask(n)) for n in range(3))
        await met(lambda: pool.submitting == 2)
        work.let(0)
        await met(lambda: pool.submitting == 1)  # the second is let in, and has not been told
        second.cancel()
        work.let(2)
        assert await third == 20
        await first
        assert second.cancelled()
        assert 1 not in work.ended


async def test_work_that_cancels_its_own_caller_harms_nobody_else():
    asking: dict[str, asyncio.Task[Any]] = {}
    begun: list[str] = []
    told: list[str] = []

    async def work(name: str) -> str:
        begun.append(name)
        if name.startswith("rash"):
            asking[name].cancel()
        if name == "rash":
            return name
        try:
            await (asyncio.sleep(0) if name.endswith("quiet") else asyncio.Event().wait())
        except asyncio.CancelledError:
            told.append(name)
            raise
        return name

    async with WorkerPool(work, PoolSettings(workers=1)) as pool:
        for name in ("rash", "quiet", "rash but slow", "last, quiet"):
            asking[name] = asyncio.ensure_future(pool.ask(name))
        assert await asking["quiet"] == "quiet"
        assert await asking["last, quiet"] == "last, quiet"
        assert asking["rash"].cancelled()
        assert asking["rash but slow"].cancelled()
    assert told == ["rash but slow"]
    assert begun == ["rash", "quiet", "rash but slow", "last, quiet"]


async def test_work_that_shrugs_off_its_cancellation_keeps_its_worker():
    shrugged = 0

    async def stubborn(gate: asyncio.Event) -> str:
        nonlocal shrugged
        try:
            await gate.wait()
        except asyncio.CancelledError:
            shrugged += 1
        return "done"

    async with WorkerPool(stubborn, PoolSettings(workers=1)) as pool:
        closed, opened = asyncio.Event(), asyncio.Event()
        answer = pool.offer(closed)
        await met(lambda: pool.under_way == 1)
        answer.cancel()
        opened.set()
        assert await pool.ask(opened) == "done"
        assert shrugged == 1


async def test_an_error_that_nobody_waits_for_is_logged(logged: list[Any]):
    async def work(gate: asyncio.Event) -> None:
        try:
            await gate.wait()
        finally:
            raise Bad

    async with WorkerPool(work, PoolSettings(workers=1), name="logged") as pool:
        answer = pool.offer(asyncio.Event())
        await met(lambda: pool.under_way == 1)
        answer.cancel()
    assert [(entry["event"], entry["pool"]) for entry in logged] == [("failed while nobody waited for it", "logged")]


async def test_work_cancelled_from_within_cancels_its_answer_and_not_the_pool():
    async def work(number: int) -> int:
        if number == 0:
            raise asyncio.CancelledError
        return number

    async with WorkerPool(work, PoolSettings(workers=1)) as pool:
        first, second = pool.offer(0), pool.offer(1)
        assert await second == 1
        assert first.cancelled()


async def test_a_task_group_that_fails_inside_of_the_work_costs_no_worker():
    async def work(number: int) -> int:
        with pytest.raises(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
        return number

    async def fail() -> None:
        await asyncio.sleep(0)
        raise Bad

    async with WorkerPool(work, PoolSettings(workers=1)) as pool:
        assert [await answer for answer in [pool.offer(n) for n in range(5)]] == list(range(5))


async def test_closing_waits_for_what_is_inside_and_refuses_what_comes():
    work = Work()
    pool = WorkerPool(work, PoolSettings(workers=1, waiting_max=1))
    inside = [pool.offer(n) for n in range(2)]
    outside = asyncio.ensure_future(pool.ask(2))
    await met(lambda: pool.submitting == 1 and work.now == 1)
    closing = asyncio.ensure_future(pool.close())
    with pytest.raises(Overloaded, match="closed"):
        await outside
    with pytest.raises(Overloaded):
        await pool.submit(9)
    with pytest.raises(Overloaded):
        pool.offer(9)
    assert not closing.done()
    work.let_all()
    await closing
    assert [answer.result() for answer in inside] == [0, 10]


@pytest.mark.parametrize("drain_ms", [0, 1])
async def test_closing_cancels_what_does_not_end_in_time(drain_ms: int):
    work = Work()
    pool = WorkerPool(work, PoolSettings(workers=2, waiting_max=3, drain_ms=drain_ms))
    answers = [pool.offer(n) for n in range(5)]
    await met(lambda: work.now == 2)
    await pool.close()
    assert all(answer.cancelled() for answer in answers)
    assert (sorted(work.cancelled), work.begun, work.now) == ([0, 1], [0, 1], 0)
    assert (pool.under_way, pool.waiting) == (0, 0)


async def test_closing_before_a_worker_took_its_first_step():
    work = Work()
    pool = WorkerPool(work, PoolSettings(workers=2))
    answers = [pool.offer(n) for n in range(3)]
    await pool.close(0)
    assert all(answer.cancelled() for answer in answers)
    assert work.begun == []


async def test_cancelling_a_pool_empties_it_for_further_use():
    work = Work()
    async with WorkerPool(work, PoolSettings(workers=1, waiting_max=1)) as pool:
        inside = [pool.offer(n) for n in range(2)]
        outside = asyncio.ensure_future(pool.ask(2))
        await met(lambda: pool.submitting == 1 and work.now == 1)
        await pool.cancel()
        assert all(answer.cancelled() for answer in inside)
        with pytest.raises(Overloaded, match="cancelled"):
            await outside
        assert (pool.under_way, pool.waiting, work.cancelled) == (0, 0, [0])
        work.let_all()
        assert await pool.ask(3) == 30


async def test_a_closer_who_is_cancelled_leaves_nothing_either():
    cleaned = asyncio.Event()
    may_end = asyncio.Event()

    async def slow_to_end(_: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()
            await may_end.wait()

    pool = WorkerPool(slow_to_end, PoolSettings(workers=1))
    answer = pool.offer(0)
    await met(lambda: pool.under_way == 1)
    closing = asyncio.ensure_future(pool.close())
    await quiet()
    closing.cancel()
    await cleaned.wait()
    closing.cancel()
    await quiet()
    assert not closing.done(), "it waits for what it has cancelled, however often it is told to go"
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert answer.cancelled()
    assert pool.under_way == 0


async def test_a_block_that_fails_cancels_what_is_inside():
    work = Work()
    with pytest.raises(Bad):
        async with WorkerPool(work, PoolSettings(workers=1)) as pool:
            answers = [pool.offer(n) for n in range(3)]
            await met(lambda: work.now == 1)
            raise Bad
    assert all(answer.cancelled() for answer in answers)
    assert work.cancelled == [0]


async def test_cancel_and_close_in_the_same_moment():
    work = Work()
    pool = WorkerPool(work, PoolSettings(workers=1, waiting_max=1))
    asking = [asyncio.ensure_future(pool.ask(n)) for n in range(3)]
    await met(lambda: pool.submitting == 1 and work.now == 1)
    for task in asking:
        task.cancel()
    await pool.close(0)
    await asyncio.wait(asking)
    assert all(task.cancelled() for task in asking)
    assert work.cancelled == [0]


async def test_a_stranger_who_cancels_the_workers_leaves_nobody_waiting():
    work = Work()
    pool = WorkerPool(work, PoolSettings(workers=2), name="estranged")
    answers = [pool.offer(n) for n in range(5)]
    await met(lambda: work.now == 2)
    for task in asyncio.all_tasks():
        if task.get_name() == "estranged":
            task.cancel()
    await met(lambda: all(answer.done() for answer in answers))
    work.let_all()
    assert await pool.ask(7) == 70


async def test_an_item_cannot_close_its_own_pool():
    async def work(pool: WorkerPool[Any, None]) -> None:
        await pool.close()

    async with WorkerPool(work, PoolSettings(workers=1)) as pool:
        with pytest.raises(AssertionError, match="wait for itself"):
            await pool.ask(pool)


async def test_what_a_caller_has_bound_does_not_reach_other_items():
    async def bound(_: int) -> str:
        return BOUND.get()

    BOUND.set("the caller's")
    async with WorkerPool(bound) as pool:
        assert await pool.ask(1) == "nothing"


async def test_however_many_come_the_pool_stays_as_large_as_it_is():
    """As many tasks as workers, as many items as there is room, whatever comes."""
    most_tasks = most_inside = 0

    async def work(_: int) -> None:
        nonlocal most_tasks, most_inside
        most_tasks = max(most_tasks, tasks_named("bounded"))
        most_inside = max(most_inside, pool.under_way + pool.waiting)
        await asyncio.sleep(0)

    async with WorkerPool(work, PoolSettings(workers=4, waiting_max=8), name="bounded") as pool:
        for number in range(2_000):
            await pool.submit(number)
    assert (most_tasks, most_inside) == (4, 12)
