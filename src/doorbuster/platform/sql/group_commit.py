"""Group commit: whoever arrives while a commit is running forms the next batch. No timers.

The batch is as large as the load asks for: a lone request commits at once, a thousand at once share one flush.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, NamedTuple, TypeVar

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, OutcomeUnknown, Overloaded

Req = TypeVar("Req")
Res = TypeVar("Res")


class WrongCount(Exception):
    """`commit` broke its contract. What it did to whom is unknown, so nothing is repeated."""


class _Item(NamedTuple, Generic[Req, Res]):
    request: Req
    deadline: Deadline | None
    answer: asyncio.Future[Res]


class GroupCommit(Generic[Req, Res]):
    """Commits requests in batches, with an outcome for each.

    `commit` takes at most `max_batch` requests in order of arrival and returns as many results, each a value or
    an exception for that request alone. If it raises a `Busy` (Unavailable, OutcomeUnknown) the whole batch gets
    that answer. If it raises anything else, it must have rolled back: the requests are then committed one by one,
    so that a bad one fails alone.

    A task of its own commits, never a caller's. Callers that are gone (cancelled, or past their deadline) are
    left out before the commit, never after. At most `max_waiting` requests wait; the next gets Overloaded at once.

    With `patience_s` a batch that takes longer gets OutcomeUnknown, and the next one has its turn: for callers whom
    nobody else would release from a database that is silent. Their `commit` must not be undone by its cancellation.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Req]], Awaitable[Sequence[Res | Exception]]],
        *,
        max_batch: int = 512,
        max_waiting: int = 8192,
        patience_s: float | None = None,
    ) -> None:
        self._commit = commit
        self._patience_s = patience_s
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[_Item[Req, Res]] = deque()
        self._committer: asyncio.Task[None] | None = None
        self._committing = 0
        self._closed = False

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def committing(self) -> int:
        """How many are in the batch that is being committed: they are carried through, whoever leaves."""
        return self._committing

    async def submit(self, request: Req, deadline: Deadline | None = None) -> Res:
        """The outcome of `request`. Raises Overloaded (nothing was done) or what its commit answered."""
        return await self.enqueue(request, deadline)

    def enqueue(self, request: Req, deadline: Deadline | None = None) -> asyncio.Future[Res]:
        """The same without waiting; who cancels the future before the commit is left out. Raises Overloaded."""
        if self._closed or len(self._waiting) >= self._max_waiting:
            raise Overloaded
        answer: asyncio.Future[Res] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(request, deadline, answer))
        if self._committer is None or self._committer.done():
            # Of no request in particular: whoever came first would otherwise lend the others their id and trace.
            committing = self._commit_all()
            self._committer = asyncio.create_task(committing, name="group-commit", context=Context())
            self._committer.add_done_callback(self._left_behind)
        return answer

    async def close(self) -> None:
        """Refuses newcomers and carries through what waits."""
        self._closed = True
        if self._committer is not None:
            await asyncio.wait([self._committer])  # a closer who is cancelled cancels nobody's commit

    async def _commit_all(self) -> None:
        try:
            while batch := self._next_batch():
                self._committing = len(batch)
                await self._settle(batch)
        finally:
            self._committing = 0

    def _left_behind(self, committer: asyncio.Task[None]) -> None:
        """Nobody may wait for ever: a committer that was cancelled, perhaps before its first step, leaves a queue."""
        if committer.cancelled() or committer.exception() is not None:
            while self._waiting:
                _answer(self._waiting.popleft(), Overloaded())

    def _next_batch(self) -> list[_Item[Req, Res]]:
        batch: list[_Item[Req, Res]] = []
        while self._waiting and len(batch) < self._max_batch:
            item = self._waiting.popleft()
            if _is_waited_for(item):
                batch.append(item)
        return batch

    async def _settle(self, batch: list[_Item[Req, Res]]) -> None:
        """Commits a batch and answers every item of it, whatever is raised."""
        try:
            results = await self._commit_in_time([item.request for item in batch])
            if len(results) != len(batch):
                raise WrongCount(f"commit answered {len(results)} of {len(batch)} requests")
        except (Busy, WrongCount) as error:
            _answer_all(batch, error)
        except Exception as error:  # noqa: BLE001 - every caller that waits gets it; nothing is swallowed
            if len(batch) == 1:
                _answer_all(batch, error)
            else:
                await self._settle_singly(batch)
        except BaseException:
            # Cancelled in the middle: the commit may still be carried through.
            _answer_all(batch, OutcomeUnknown())
            raise
        else:
            for item, result in zip(batch, results, strict=True):
                _answer(item, result)

    async def _commit_in_time(self, requests: Sequence[Req]) -> Sequence[Res | Exception]:
        limit = asyncio.timeout(self._patience_s)
        try:
            async with limit:
                return await self._commit(requests)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise OutcomeUnknown("the commit takes too long; ask again with the same key") from error

    async def _settle_singly(self, batch: list[_Item[Req, Res]]) -> None:
        for at, item in enumerate(batch):
            try:
                if _is_waited_for(item):
                    await self._settle([item])
            except BaseException:
                _answer_all(batch[at + 1 :], Overloaded("the server is stopping"))
                raise


def _is_waited_for(item: _Item[Any, Any]) -> bool:
    """Whether the caller is still there; one who came past their deadline is told so."""
    if item.deadline is not None and item.deadline.passed():
        _answer(item, Overloaded("the deadline passed while the request was waiting"))
    return not item.answer.done()


def _answer_all(batch: Sequence[_Item[Req, Res]], error: Exception) -> None:
    for item in batch:
        _answer(item, error)


def _answer(item: _Item[Req, Res], result: Res | Exception) -> None:
    if item.answer.done():
        return
    if isinstance(result, Exception):
        item.answer.set_exception(result)
    else:
        item.answer.set_result(result)
