"""Stages one after another, each with workers of its own and a bounded queue before it.

Whoever is slow fills the queue before it, and so on back to the source, which is not asked for more: the memory of a
pipeline does not depend on how much runs through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import structlog

from doorbuster.platform.pools.ending import GaveUp, ended, one_fate

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")

_END: Any = object()
"""The last thing in a queue."""

log = structlog.get_logger("pools")


@dataclass(frozen=True)
class Stage(Generic[A, B]):
    """`work` by so many workers on what waits in a queue of `waiting_max`.

    `ordered`: results leave in the order in which items came. A worker that is done early waits for its turn, so a slow
    item holds up at most the other workers. One worker is always in order.
    """

    work: Callable[[A], Awaitable[B]]
    workers: int = 1
    waiting_max: int = 1
    ordered: bool = False

    def __post_init__(self) -> None:
        if self.workers < 1 or self.waiting_max < 1:
            raise ValueError("a stage needs a worker, and a place before it")


class _Failed(Exception):
    """Carries a pipeline's error to whoever reads its results."""

    def __init__(self, error: Exception) -> None:
        self.error = error


@dataclass(frozen=True)
class Pipeline(Generic[A, B]):
    """`Pipeline.of(first).then(second)`; it may run many times."""

    stages: tuple[Stage[Any, Any], ...]

    @staticmethod
    def of(stage: Stage[C, D]) -> Pipeline[C, D]:
        return Pipeline((stage,))

    def then(self, stage: Stage[B, C]) -> Pipeline[A, C]:
        return Pipeline((*self.stages, stage))

    @property
    def inside_max(self) -> int:
        """So many items are taken from the source at most before somebody takes a result: those in queues, those in
        work, one that waits to enter, and one result."""
        return sum(stage.workers + stage.waiting_max for stage in self.stages) + 2

    @asynccontextmanager
    async def run(self, source: Iterable[A] | AsyncIterable[A]) -> AsyncGenerator[AsyncIterator[B]]:
        """The results, to be read inside the block. Outside of it nothing of the pipeline runs any more.

        The first failure, of a stage or the source, ends all stages and is raised once: where the next result is asked
        for, or at the block's end. Results that were not read by then are dropped. Who leaves the block early stops the
        pipeline. An async generator given as source is closed in any case.
        """
        queues = [asyncio.Queue[Any](stage.waiting_max) for stage in self.stages]
        results = _Results[B]()
        # A task of its own, beside the block: a stage that fails must not cancel what the block is doing elsewhere.
        running = asyncio.create_task(_run(source, self.stages, queues, results), name="pipeline")
        try:
            yield results
        except BaseException:
            if (untold := await results.stop(running)) is not None:
                log.warning("a pipeline had failed as well", exc_info=untold)
            raise
        if (untold := await results.stop(running)) is not None:
            raise untold


class _Results(AsyncIterator[B]):
    """What comes out, for any number of readers."""

    def __init__(self) -> None:
        self.queue = asyncio.Queue[Any](1)

    def __aiter__(self) -> AsyncIterator[B]:
        return self

    async def __anext__(self) -> B:
        found = await self.queue.get()
        if found is _END or isinstance(found, _Failed):
            self.queue.put_nowait(_END)  # nothing comes after it: there is room, and other readers must hear of it
            if isinstance(found, _Failed):
                raise found.error
            raise StopAsyncIteration
        return found

    def end(self, last: Any = _END) -> Any:
        """Whoever reads on finds `last`. What was found there, if anything."""
        dropped = None if self.queue.empty() else self.queue.get_nowait()
        self.queue.put_nowait(last)
        return dropped

    async def stop(self, running: asyncio.Task[None]) -> Exception | None:
        """Nothing runs and nothing more is read after this. The failure that nobody has been told, if it had failed
        before."""
        had_ended = running.done()
        running.cancel()
        try:
            await ended([running])
        finally:
            dropped = self.end()
        return dropped.error if had_ended and isinstance(dropped, _Failed) else None


async def _run(
    source: Any, stages: tuple[Stage[Any, Any], ...], inner: list[asyncio.Queue[Any]], results: _Results[Any]
) -> None:
    queues = [*inner, results.queue]
    staffed = map(_staffed, stages, queues, queues[1:])
    try:
        await one_fate([_feed(source, queues[0]), *staffed])
    except asyncio.CancelledError:
        results.end(_Failed(GaveUp("the pipeline was cancelled by a stranger")))  # or the block is over: nobody reads
        raise
    except Exception as error:  # noqa: BLE001 - whoever reads the results gets it
        results.end(_Failed(error))


async def _feed(source: Iterable[Any] | AsyncIterable[Any], first: asyncio.Queue[Any]) -> None:
    if isinstance(source, AsyncIterable):
        try:
            async for item in source:
                await first.put(item)
        finally:
            if isinstance(source, AsyncGenerator):
                await cast("AsyncGenerator[Any, None]", source).aclose()
    else:
        for item in source:
            await first.put(item)
    await first.put(_END)


async def _staffed(stage: Stage[Any, Any], inbox: asyncio.Queue[Any], outbox: asyncio.Queue[Any]) -> None:
    turns = _Turns() if stage.ordered and stage.workers > 1 else None
    await one_fate(_work(stage, inbox, outbox, turns) for _ in range(stage.workers))
    await outbox.put(_END)


async def _work(
    stage: Stage[Any, Any], inbox: asyncio.Queue[Any], outbox: asyncio.Queue[Any], turns: _Turns | None
) -> None:
    while (item := await inbox.get()) is not _END:
        turn = turns.take() if turns is not None else None  # in the step that took the item: nobody comes between
        result = await stage.work(item)
        if turn is None:
            await outbox.put(result)
        else:
            before, mine = turn
            await before
            await outbox.put(result)
            mine.set_result(None)
    inbox.put_nowait(_END)  # for the other workers; it was the last


class _Turns:
    """Each waits for the one before it."""

    def __init__(self) -> None:
        self._last = _future()
        self._last.set_result(None)

    def take(self) -> tuple[asyncio.Future[None], asyncio.Future[None]]:
        """(done when it is my turn, to be done by me)"""
        before, self._last = self._last, _future()
        return before, self._last


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
