"""The one thread that touches SQLite: jobs that wait together share one transaction and one fsync."""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from doorbuster.lab.payment_simulator.errors import OverloadedError, StorageFailedError
from doorbuster.lab.payment_simulator.schema import open_database

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

WAITING_MAX = 4096
BATCH_MAX = 256

_log = logging.getLogger(__name__)


class _Job(Generic[T]):
    """A unit of work, its own savepoint, and the future of whoever waits for it."""

    def __init__(self, work: Work[T], answer: asyncio.Future[T]) -> None:
        self._work = work
        self._answer = answer
        self._result: T | None = None
        self._error: BaseException | None = None

    def perform(self, connection: sqlite3.Connection) -> None:
        """Run in the writer's thread; a job that raises leaves nothing behind."""
        connection.execute("SAVEPOINT job")
        try:
            self._result = self._work(connection)
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for it
            self._error = error
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def settle(self, failure: BaseException | None) -> None:
        """Run in the event loop, after the commit: hand over result or error."""
        if self._answer.done():  # the caller was cancelled; the work stands all the same
            return
        error = failure or self._error
        if error is None:
            self._answer.set_result(self._result)  # pyright: ignore[reportArgumentType] - set when no error
        elif isinstance(error, sqlite3.Error):
            _log.error("the store refused a transaction: %s", error)
            self._answer.set_exception(StorageFailedError())
        else:
            self._answer.set_exception(error)


class Writer:
    """Runs work against the database; a result is handed out only once it is durable."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path)
        self._jobs: queue.SimpleQueue[_Job[object] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write, name="payment-store", daemon=True)
        self._thread.start()

    async def run(self, work: Work[T], *, patient: bool = False) -> T:
        """Run ``work`` in a transaction and return its result after the commit.

        ``patient`` callers bound their own number and are never refused.

        Raises:
            OverloadedError: ``WAITING_MAX`` jobs wait already.
            StorageFailedError: SQLite refused; nothing of the work remains.
        """
        if self._waiting >= WAITING_MAX and not patient:
            raise OverloadedError(WAITING_MAX)
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._jobs.put(_Job(work, answer))  # pyright: ignore[reportArgumentType] - settled by the same job
        return await answer

    def close(self) -> None:
        """Finish what waits, then close the file."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()

    def _write(self) -> None:
        open_for_work = True
        while open_for_work:
            batch, open_for_work = self._next_batch()
            failure = self._commit(batch)
            self._loop.call_soon_threadsafe(self._settle, batch, failure)

    def _next_batch(self) -> tuple[list[_Job[object]], bool]:
        job = self._jobs.get()
        batch: list[_Job[object]] = []
        while job is not None:
            batch.append(job)
            if len(batch) == BATCH_MAX:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _commit(self, batch: list[_Job[object]]) -> BaseException | None:
        try:
            self._connection.execute("BEGIN")
            for job in batch:
                job.perform(self._connection)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return error
        return None

    def _settle(self, batch: list[_Job[object]], failure: BaseException | None) -> None:
        self._waiting -= len(batch)
        for job in batch:
            job.settle(failure)
