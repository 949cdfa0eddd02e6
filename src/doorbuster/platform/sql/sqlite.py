"""SQLite: a file per context, WAL, synchronous=FULL, one writer thread and a few reader threads.

A transaction is one hop to a thread, whatever number of statements it has.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool

from doorbuster.kernel.errors import OutcomeUnknown, Overloaded, Unavailable
from doorbuster.kernel.request_context import RequestContext, current_request
from doorbuster.platform.sql.database import Dialect, Row, Tx
from doorbuster.platform.sql.errors import RowRejected
from doorbuster.platform.sql.group_commit import GroupCommit

T = TypeVar("T")

READ, WRITE = "BEGIN", "BEGIN IMMEDIATE"
PRIMARY_CODE = 0xFF
"""The bits of an SQLite result code that say what kind of error it is."""
READERS = 2
GROUP_MAX, WAITING_MAX = 64, 8192
"""Transactions that share a flush, and how many may wait for one (or for a reader)."""
BUSY_TIMEOUT_S = 5.0
"""How long a transaction waits for another process's lock on the file before it is refused as Unavailable."""

WAL_RETRY_S = 0.005


class _Write(NamedTuple):
    """What a caller wants done, and the request that it is for: its task is not the one that commits."""

    work: Callable[[Tx], Any]
    request: RequestContext | None

    def on(self, tx: Tx) -> Any:
        """The thread's one `tx` serves everybody in turn."""
        tx.request = self.request
        try:
            return self.work(tx)
        finally:
            tx.request = None


class SqliteDatabase:
    """One file. Writers of this process share commits, in order of arrival: a flush takes milliseconds, and those who
    came while one was under way are flushed together by the next."""

    def __init__(self, name: str, path: Path, readers: int = READERS) -> None:
        self.name = name
        self.path = path
        self.dialect: Dialect = "sqlite"
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=NullPool,
            hide_parameters=True,  # errors are logged, and parameters hold what people sent
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "isolation_level": None},
        )
        event.listen(self._engine, "connect", _prepare)
        self._opened: list[sa.Connection] = []
        self._of_thread = local()
        self._reading = 0
        self._commits: GroupCommit[_Write, tuple[Any]] = GroupCommit(
            self._commit_group, max_batch=GROUP_MAX, max_waiting=WAITING_MAX
        )
        self._writer = ThreadPoolExecutor(1, f"{name}-writer")
        self._readers = ThreadPoolExecutor(readers, f"{name}-reader")

    async def write(self, work: Callable[[Tx], T]) -> T:
        # Shielded: a caller that goes away does not undo what it has asked for.
        (result,) = await asyncio.shield(self._commits.enqueue(_Write(work, current_request())))
        return result

    async def read(self, work: Callable[[Tx], T]) -> T:
        if self._reading >= WAITING_MAX:
            raise Overloaded
        self._reading += 1
        try:
            # Not shielded: who goes away while waiting for a reader is not read for.
            return await self._on(self._readers, READ, lambda tx, _driver: work(tx))
        finally:
            self._reading -= 1

    async def _commit_group(self, works: Sequence[_Write]) -> Sequence[tuple[Any] | Exception]:
        """One flush for all who came while the last one was under way; each behind a savepoint of its own."""
        if len(works) == 1:
            return [(await self._on(self._writer, WRITE, lambda tx, _driver: works[0].on(tx)),)]
        return await self._on(
            self._writer, WRITE, lambda tx, driver: [self._behind_savepoint(tx, driver, work) for work in works]
        )

    def _behind_savepoint(self, tx: Tx, driver: sqlite3.Connection, work: _Write) -> tuple[Any] | Exception:
        """What `work` returned, or why it alone is rolled back."""
        driver.execute("SAVEPOINT work")
        try:
            result = work.on(tx)
        except Exception as error:
            if not driver.in_transaction:
                raise  # the whole transaction is gone, with everybody's work
            driver.execute("ROLLBACK TO work")
            driver.execute("RELEASE work")
            return self._told(error, WRITE)
        driver.execute("RELEASE work")
        return (result,)

    async def _on(self, threads: ThreadPoolExecutor, begin: str, work: Callable[[Tx, sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, self._transact, begin, work)

    def _transact(self, begin: str, work: Callable[[Tx, sqlite3.Connection], T]) -> T:
        try:
            connection, driver, tx = self._of_this_thread(begin)
            try:
                return _committed(driver, begin, lambda: work(tx, driver))
            finally:
                # SQLAlchemy has begun a transaction of its own in the books; there is none in the driver.
                connection.rollback()
        except Exception as error:
            told = self._told(error, begin)
            if told is error:
                raise
            raise told from error

    def _told(self, error: Exception, begin: str) -> Exception:
        """The error in the port's words, or itself if it is not the database's."""
        if isinstance(error, (sqlite3.IntegrityError, exc.IntegrityError, exc.DataError, OverflowError)):
            told: Exception = RowRejected()
        elif isinstance(error, (sqlite3.OperationalError, exc.OperationalError)) and not _is_mistake(error, begin):
            told = Unavailable(f"the {self.name} database is not available")
        else:
            return error
        told.__cause__ = error
        return told

    def _of_this_thread(self, begin: str) -> tuple[sa.Connection, sqlite3.Connection, Tx]:
        opened = getattr(self._of_thread, "opened", None)
        if opened is None:
            connection = self._engine.connect()
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            if begin == READ:
                driver.execute("PRAGMA query_only=ON")
            opened = (connection, driver, Tx("sqlite", connection, _rows(driver), _run_many(driver)))
            self._of_thread.opened = opened
            self._opened.append(connection)
        return opened

    async def close(self) -> None:
        await self._commits.close()
        for threads in (self._writer, self._readers):
            await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)
        for connection in self._opened:
            connection.close()
        self._engine.dispose()


def _prepare(driver: sqlite3.Connection, _record: object) -> None:
    _use_wal(driver)
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-8000",
        "wal_autocheckpoint=2000",
    ):
        driver.execute(f"PRAGMA {pragma}")


def _use_wal(driver: sqlite3.Connection) -> None:
    """SQLite does not call its busy handler while the journal's mode changes, so that several processes that open a new
    file at once would refuse one another."""
    patience = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            driver.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as failed:
            if failed.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() >= patience:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


def _committed(driver: sqlite3.Connection, begin: str, work: Callable[[], T]) -> T:
    driver.execute(begin)
    try:
        result = work()
        _commit(driver)
    except BaseException:
        # A full disk or an I/O error has rolled back already; another ROLLBACK would hide the cause.
        if driver.in_transaction:
            driver.execute("ROLLBACK")
        raise
    return result


def _commit(driver: sqlite3.Connection) -> None:
    try:
        driver.execute("COMMIT")
    except sqlite3.OperationalError as failed:
        # The commit record may have reached the log, and be found there after a crash.
        if failed.sqlite_errorcode & PRIMARY_CODE == sqlite3.SQLITE_IOERR:
            raise OutcomeUnknown from failed
        raise


def _is_mistake(failed: sqlite3.OperationalError | exc.OperationalError, begin: str) -> bool:
    """A statement that cannot work, or a read that writes: nothing that waiting would mend."""
    error = failed.orig if isinstance(failed, exc.OperationalError) else failed
    code: int = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
    return code == sqlite3.SQLITE_ERROR or (begin == READ and code == sqlite3.SQLITE_READONLY)


def _rows(driver: sqlite3.Connection) -> Callable[[str, Sequence[Any]], Sequence[Row]]:
    def rows(sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        return driver.execute(sql, parameters).fetchall()

    return rows


def _run_many(driver: sqlite3.Connection) -> Callable[[str, Sequence[Sequence[Any]]], None]:
    def run_many(sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        driver.executemany(sql, parameters)

    return run_many
