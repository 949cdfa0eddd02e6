"""A pool: so many workers, a bounded queue before them, and an answer for whoever brought an item.

Workers come with the work and go when there is none, so an idle pool is no task at all, and a busy one has as many as
it was given. A worker takes its next item in the same step in which it answered the last: nothing is woken for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Annotated, Any, Generic, TypeVar, cast

import structlog
from msgspec import Meta, Struct

from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.pools.ending import ended

A = TypeVar("A")
B = TypeVar("B")

log = structlog.get_logger("pools")


class PoolSettings(Struct, frozen=True, forbid_unknown_fields=True):
    workers: Annotated[int, Meta(ge=1, le=10_000)] = 16
    waiting_max: Annotated[int, Meta(ge=0, le=100_000)] = 256
    """Items before the workers. At this bound `offer` refuses, `submit` waits for a place."""
    submitting_max: Annotated[int, Meta(ge=0, le=100_000)] = 1_000
    """Who wait for a place. The next one is refused at once."""
    drain_ms: Annotated[int, Meta(ge=0, le=600_000)] = 10_000
    """How long closing waits for what is inside, before it is cancelled."""


class _Answer(asyncio.Future[B]):
    """Cancelling it takes the item out of the pool, or cancels the work on it: at once, not in the loop's next round,
    when its worker may be busy with another's."""

    def __init__(self, pool: WorkerPool[Any, B]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self.pool = pool
        self.worker: asyncio.Task[None] | None = None
        self.interrupted = False

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.pool.give_up(self)
        return cancelled


class WorkerPool(Generic[A, B]):
    """`work` on items that others bring. Used from one event loop.

        async with WorkerPool(send, PoolSettings(workers=8)) as pool:
            reply = await pool.ask(letter)

    An item's error is its caller's and nobody else's. A caller who is cancelled takes the item along. The block's end
    waits for what is inside, for `drain_ms` at most; a block that fails cancels it. `work` must end when it is
    cancelled; it runs in a context of its own, without what the caller has bound; and it must not wait for an answer of
    the same pool, which might need its own worker.
    """

    def __init__(
        self, work: Callable[[A], Awaitable[B]], settings: PoolSettings | None = None, name: str = "pool"
    ) -> None:
        self._work = work
        self._settings = settings or PoolSettings()
        self._name = name
        self._waiting: OrderedDict[_Answer[B], A] = OrderedDict()
        self._submitting: OrderedDict[asyncio.Future[asyncio.Future[B]], A] = OrderedDict()
        self._workers: set[asyncio.Task[None]] = set()
        self._closed = False
        self._stopping = False
        self.under_way = 0
        self.refused = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def submitting(self) -> int:
        return len(self._submitting)

    @property
    def room(self) -> int:
        """So many more `offer` takes now."""
        inside_max = self._settings.workers + self._settings.waiting_max
        return max(0, inside_max - self.under_way - len(self._waiting))

    def offer(self, item: A) -> asyncio.Future[B]:
        """The item's answer to be; cancel it to take the item back. Raises Overloaded when there is no room."""
        if self._closed or not self.room:  # while anybody waits for a place there is none
            self.refused += 1
            raise Overloaded(f"no room in {self._name}")
        return self._accept(item)

    async def submit(self, item: A) -> asyncio.Future[B]:
        """The same, when there is room for it; in order of arrival. Raises Overloaded when too many wait, or closed."""
        if not self._closed and self.room:
            return self._accept(item)
        if self._closed or len(self._submitting) >= self._settings.submitting_max:
            self.refused += 1
            raise Overloaded(f"too many wait for {self._name}")
        turn: asyncio.Future[asyncio.Future[B]] = asyncio.get_running_loop().create_future()
        self._submitting[turn] = item
        try:
            return await turn
        except asyncio.CancelledError:
            self._submitting.pop(turn, None)
            if not turn.cancelled() and turn.exception() is None:  # it was let in, and did not know it yet
                turn.result().cancel()
            raise

    async def ask(self, item: A) -> B:
        """What `work` makes of the item. Raises what it raises, and Overloaded as `submit` does."""
        return await (await self.submit(item))

    async def idle(self) -> None:
        """Returns when nothing is inside."""
        while self._workers:
            await asyncio.wait(set(self._workers))

    async def close(self, drain_ms: int | None = None) -> None:
        """Refuses newcomers and who wait for a place, and waits for what is inside; after `drain_ms` (None: as set) it
        is cancelled. Nothing is left when this returns, or raises because its caller was cancelled."""
        assert asyncio.current_task() not in self._workers, "an item cannot close its pool: it would wait for itself"
        self._closed = True
        self._turn_away(f"{self._name} is closed")
        drain_s = (self._settings.drain_ms if drain_ms is None else drain_ms) / 1000
        try:
            if self._workers and drain_s > 0:
                await asyncio.wait(set(self._workers), timeout=drain_s)
        finally:
            await self.cancel()

    async def cancel(self) -> None:
        """Cancels what is inside and turns away who waits for a place; the pool may be used on. Nothing of it is left
        when this returns, or raises because its caller was cancelled."""
        assert asyncio.current_task() not in self._workers, "an item cannot wait for its own end"
        self._turn_away(f"{self._name} is cancelled")
        self._stopping = True
        try:
            for answer in list(self._waiting):
                answer.cancel()
            for worker in self._workers:
                worker.cancel()
            await ended(set(self._workers))
        finally:
            self._stopping = False

    def _turn_away(self, why: str) -> None:
        while self._submitting:
            turn, _ = self._submitting.popitem(last=False)
            if not turn.done():
                turn.set_exception(Overloaded(why))

    async def __aenter__(self) -> WorkerPool[A, B]:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        await self.close(None if kind is None else 0)

    def give_up(self, answer: _Answer[B]) -> None:
        """Called by an answer that was cancelled."""
        if self._waiting.pop(answer, None) is not None or answer.worker is None:
            self._admit()
        elif answer.worker is asyncio.current_task():
            # The work has cancelled its own caller. A task that cancels itself would take it to the next item.
            asyncio.get_running_loop().call_soon(self.give_up, answer)
        elif not answer.interrupted:
            answer.interrupted = True
            answer.worker.cancel()

    def _accept(self, item: A) -> _Answer[B]:
        answer = _Answer[B](self)
        self._waiting[answer] = item
        if len(self._workers) < self._settings.workers:
            # Of no caller in particular: the first would lend the others its request id and trace.
            worker = asyncio.create_task(self._work_on(), name=self._name, context=Context())
            self._workers.add(worker)
            worker.add_done_callback(self._left_behind)
        return answer

    def _admit(self) -> None:
        while self._submitting and self.room:
            turn, item = self._submitting.popitem(last=False)
            if not turn.done():
                turn.set_result(self._accept(item))

    async def _work_on(self) -> None:
        me = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            while self._waiting:
                answer, item = self._waiting.popitem(last=False)
                cancelled_before = me.cancelling()
                self.under_way += 1
                answer.worker = me
                try:
                    await self._settle(answer, item, cancelled_before)
                finally:
                    answer.worker = None
                    self.under_way -= 1
                    while me.cancelling() > cancelled_before:  # for the item; or left over by a TaskGroup in its work
                        me.uncancel()
                    self._admit()
        finally:
            self._workers.discard(me)  # before anybody asks whether there is a worker for one more

    async def _settle(self, answer: _Answer[B], item: A, cancelled_before: int) -> None:
        """Raises CancelledError when the worker is to end, and nothing else."""
        try:
            result = await self._work(item)
        except asyncio.CancelledError:
            answer.worker = None
            answer.cancel()
            cancelled = cast("asyncio.Task[None]", asyncio.current_task()).cancelling() - cancelled_before
            if self._stopping or cancelled > answer.interrupted:
                raise
        except Exception as error:
            if answer.done():
                log.warning("failed while nobody waited for it", pool=self._name, exc_info=error)
            else:
                answer.set_exception(error)
        except BaseException:
            answer.worker = None
            answer.cancel()
            raise
        else:
            if not answer.done():
                answer.set_result(result)

    def _left_behind(self, worker: asyncio.Task[None]) -> None:
        """Nobody may wait for ever: a last worker that was cancelled by a stranger, or never began, leaves a queue."""
        self._workers.discard(worker)
        if not self._workers:
            for answer in list(self._waiting):
                answer.cancel()
