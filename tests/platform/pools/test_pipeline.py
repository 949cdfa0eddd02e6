"""Stages with queues between them: bounded, in order where asked, and over together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from doorbuster.platform.pools import GaveUp, Pipeline, Stage
from pools_working import Bad, Work, met, quiet


class Source:
    """Numbers, counting how many were taken; an async generator that notes its end."""

    def __init__(self, until: int = 1_000_000_000, breaks_at: int | None = None) -> None:
        self.until, self.breaks_at = until, breaks_at
        self.taken = 0
        self.closed = False

    async def numbers(self) -> AsyncIterator[int]:
        try:
            for number in range(self.until):
                if number == self.breaks_at:
                    raise Bad("the source")
                self.taken += 1
                yield number
                await asyncio.sleep(0)
        finally:
            self.closed = True


async def plus_one(number: int) -> int:
    await asyncio.sleep(0)
    return number + 1


async def say(number: int) -> str:
    await asyncio.sleep(0)
    return f"<{number}>"


async def test_items_go_through_every_stage_and_the_source_is_closed():
    source = Source(100)
    pipeline = Pipeline.of(Stage(plus_one, workers=3, waiting_max=4)).then(Stage(say, workers=2, waiting_max=2))
    for _ in range(2):  # it may run many times
        async with pipeline.run(source.numbers()) as results:
            found = [result async for result in results]
        assert sorted(found) == sorted(f"<{n}>" for n in range(1, 101))
    assert source.closed


async def test_a_plain_iterable_is_a_source_too_and_may_be_empty():
    pipeline = Pipeline.of(Stage(plus_one))
    for size in (0, 1, 5):
        async with pipeline.run(range(size)) as results:
            assert [result async for result in results] == list(range(1, size + 1)), "one worker keeps the order"
            with pytest.raises(StopAsyncIteration):
                await anext(results)


async def test_the_order_is_kept_where_it_is_asked_for():
    work = Work()
    ordered = Pipeline.of(Stage(work, workers=3, waiting_max=3, ordered=True))
    async with ordered.run(range(9)) as results:
        await met(lambda: work.now == 3)
        work.let(2, 1)
        await quiet()
        assert work.begun == [0, 1, 2], "whoever is done early waits for its turn"
        work.let_all()
        assert [result async for result in results] == [10 * n for n in range(9)]


async def test_without_order_whoever_is_done_goes_first():
    work = Work()
    async with Pipeline.of(Stage(work, workers=2)).run(range(4)) as results:
        await met(lambda: work.now == 2)
        work.let(1)
        assert await anext(results) == 10
        work.let_all()
        assert sorted([result async for result in results]) == [0, 20, 30]


@pytest.mark.parametrize("ordered", [False, True])
async def test_back_pressure_reaches_the_source(ordered: bool):
    work, source = Work(), Source()
    pipeline = Pipeline.of(Stage(plus_one, workers=2, waiting_max=3, ordered=ordered)).then(
        Stage(work, workers=2, waiting_max=2, ordered=ordered)
    )
    async with pipeline.run(source.numbers()) as results:
        await met(lambda: work.now == 2)
        await quiet()
        stalled_at = source.taken
        assert stalled_at == pipeline.inside_max - 1, "nothing has come out: there is no result yet"
        work.let_all()
        await quiet()
        assert source.taken == pipeline.inside_max, "and one result, that nobody reads"
        for read in range(1, 30):
            await anext(results)
            await quiet()
            assert source.taken == pipeline.inside_max + read, "one in for one out"
    assert source.closed


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("ordered", [False, True])
async def test_the_first_failure_ends_all_stages_and_is_raised_once(place: int, ordered: bool):
    works, source, bad = [Work(), Work()], Source(), Bad()
    works[place].fail(70 if place else 7, bad)
    works[0].let_all()
    pipeline = Pipeline.of(Stage(works[0], workers=3, waiting_max=2, ordered=ordered)).then(
        Stage(works[1], workers=2, waiting_max=2, ordered=ordered)
    )
    async with pipeline.run(source.numbers()) as results:
        works[1].let_all()
        with pytest.raises(Bad) as raised:
            async for _ in results:
                pass
        assert raised.value is bad
        assert [work.now for work in works] == [0, 0]
        assert source.closed
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_a_failure_nobody_has_asked_for_is_raised_where_the_block_ends():
    work, reached = Work(), False
    work.fail(0, Bad())
    work.let_all()
    with pytest.raises(Bad):
        async with Pipeline.of(Stage(work)).run(range(3)):
            await met(lambda: work.begun == [0])
            await quiet()  # the block itself is not interrupted
            reached = True
    assert reached


async def test_a_block_that_fails_raises_its_own_error_and_the_other_is_logged(logged: list[Any]):
    work = Work()
    work.fail(0, Bad("the stage"))
    work.let_all()
    with pytest.raises(Bad, match="the block"):
        async with Pipeline.of(Stage(work)).run(range(3)):
            await met(lambda: work.begun == [0])
            await quiet()
            raise Bad("the block")
    assert [entry["event"] for entry in logged] == ["a pipeline had failed as well"]


async def test_a_source_that_breaks_is_a_failure():
    source = Source(breaks_at=5)
    async with Pipeline.of(Stage(plus_one, workers=2)).run(source.numbers()) as results:
        with pytest.raises(Bad, match="the source"):
            async for _ in results:
                pass
    assert source.closed


async def test_leaving_early_stops_everything():
    work, source = Work(), Source()
    pipeline = Pipeline.of(Stage(plus_one, workers=2)).then(Stage(work, workers=2))
    async with pipeline.run(source.numbers()) as results:
        await met(lambda: work.now == 2)
        work.let(*work.begun[:1])
        async for _ in results:
            break
        await met(lambda: work.now == 2)
    assert (work.now, source.closed) == (0, True)
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_a_reader_who_is_cancelled_stops_everything():
    work, source = Work(), Source()

    async def read() -> None:
        async with Pipeline.of(Stage(work, workers=2)).run(source.numbers()) as results:
            async for _ in results:
                pass

    reading = asyncio.ensure_future(read())
    await met(lambda: work.now == 2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (work.now, sorted(work.cancelled), source.closed) == (0, [0, 1], True)


async def test_cancelled_in_the_moment_of_a_failure():
    work, source = Work(), Source()
    work.fail(0, Bad())

    async def read() -> None:
        async with Pipeline.of(Stage(work, workers=2)).run(source.numbers()) as results:
            async for _ in results:
                pass

    reading = asyncio.ensure_future(read())
    await met(lambda: work.now == 2)
    work.let(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert (work.now, source.closed) == (0, True)


@pytest.mark.parametrize("ordered", [False, True])
async def test_work_that_gives_up_by_itself_is_a_failure_and_not_a_missing_item(ordered: bool):
    async def give_up(number: int) -> int:
        await asyncio.sleep(0)
        if number == 3:
            raise asyncio.CancelledError
        return number

    async with Pipeline.of(Stage(give_up, workers=2, ordered=ordered)).run(range(50)) as results:
        with pytest.raises(GaveUp):
            async for _ in results:
                pass


async def test_a_stranger_who_cancels_it_is_told_to_the_reader():
    work = Work()
    async with Pipeline.of(Stage(work)).run(range(5)) as results:
        await met(lambda: work.now == 1)
        next(task for task in asyncio.all_tasks() if task.get_name() == "pipeline").cancel()
        with pytest.raises(GaveUp, match="stranger"):
            await anext(results)


async def test_many_readers_share_the_results_and_all_hear_of_the_end():
    async with Pipeline.of(Stage(plus_one, workers=3)).run(range(60)) as results:

        async def read() -> list[int]:
            return [result async for result in results]

        shares = await asyncio.gather(*(read() for _ in range(4)))
    assert sorted(number for share in shares for number in share) == list(range(1, 61))


async def test_a_pipeline_may_be_the_source_of_another():
    def numbers() -> Iterator[int]:
        yield from range(20)

    async with (
        Pipeline.of(Stage(plus_one, workers=2, ordered=True)).run(numbers()) as first,
        Pipeline.of(Stage(say)).run(first) as second,
    ):
        assert [result async for result in second] == [f"<{n}>" for n in range(1, 21)]


@pytest.mark.parametrize("bounds", [{"workers": 0}, {"waiting_max": 0}])
def test_a_stage_without_bounds_is_refused(bounds: dict[str, int]):
    with pytest.raises(ValueError, match="a stage needs"):
        Stage(plus_one, **bounds)
