"""PostgreSQL through asyncpg: a schema per context.

SQLAlchemy lends the connection and compiles dialect-neutral statements; BEGIN and COMMIT are ours, because what
a lost connection means depends on which of them was under way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from doorbuster.kernel.errors import OutcomeUnknown, Unavailable
from doorbuster.kernel.request_context import RequestContext, current_request
from doorbuster.platform.sql.database import REPEATS_MAX, Dialect, Row, Tx
from doorbuster.platform.sql.errors import RowRejected

T = TypeVar("T")

CONNECT_TIMEOUT_S = 5.0
POOL_WAIT_S = 3.0
STATEMENT_TIMEOUT_MS = 10_000
LOCK_TIMEOUT_MS = 3_000
"""How long a transaction waits for another's lock before it is refused as Unavailable."""
GIVING_UP_S = 3.0
"""What closing a silent connection takes at most (asyncpg waits for two seconds)."""
ANSWER_S = STATEMENT_TIMEOUT_MS / 1000 + 2
"""A server that has not answered by then does not keep its own time limits: it stands still, or the line is dead."""

_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # its answer between the server's last words and the end of the socket
    asyncpg.CannotConnectNowError,
)
_SHUT = (asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
_REPEAT = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_TOO_LONG = (exc.TimeoutError, asyncpg.OperatorInterventionError, asyncpg.LockNotAvailableError)
_REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)


class NotCommitted(Exception):
    """COMMIT was answered by ROLLBACK: a statement had failed and its error was swallowed. A bug in `work`."""


class _DeadConnection(Unavailable):
    """A pooled connection had died before anything was asked of it."""


class PostgresDatabase:
    """One schema, on a pool of its own."""

    def __init__(self, name: str, url: str, pool_size: int = 4, answer_s: float = ANSWER_S) -> None:
        self.name = name
        self.dialect: Dialect = "postgres"
        self._pool_size = pool_size
        self._running: set[asyncio.Task[Any]] = set()
        self._engine: AsyncEngine = create_async_engine(
            sa.make_url(url).set(drivername="postgresql+asyncpg"),
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # errors are logged, and parameters hold what people sent
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=False,
            connect_args={
                "timeout": CONNECT_TIMEOUT_S,
                "command_timeout": answer_s,
                "server_settings": {
                    "search_path": name,
                    "application_name": f"doorbuster-{name}",
                    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(STATEMENT_TIMEOUT_MS),
                },
            },
        )

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self._carried_through(self._repeated("BEGIN", work))

    async def read(self, work: Callable[[Tx], T]) -> T:
        try:
            return await self._carried_through(self._repeated("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", work))
        except OutcomeUnknown as lost:  # nothing was to be written
            raise self._translated(lost) from lost

    async def _carried_through(self, transaction: Coroutine[Any, Any, T]) -> T:
        """A caller who goes away must not leave a connection in the middle of a transaction."""
        task = asyncio.ensure_future(transaction)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _repeated(self, begin: str, work: Callable[[Tx], T]) -> T:
        for attempt in range(REPEATS_MAX):
            try:
                return await self._on_a_live_connection(begin, work)
            except exc.DBAPIError as wrapped:
                cause = _driver_error(wrapped)
                if not isinstance(cause, _REPEAT) or attempt == REPEATS_MAX - 1:
                    raise self._translated(cause) from wrapped
            except _REPEAT as lost_race:
                if attempt == REPEATS_MAX - 1:
                    raise self._translated(lost_race) from lost_race
            except (asyncpg.PostgresError, *_LOST, exc.TimeoutError) as error:
                raise self._translated(error) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _on_a_live_connection(self, begin: str, work: Callable[[Tx], T]) -> T:
        """A restart of the server leaves the pool full of dead connections: each is found out and replaced."""
        for _ in range(self._pool_size):
            with contextlib.suppress(_DeadConnection):
                return await self._transact(begin, work)
        return await self._transact(begin, work)

    async def _transact(self, begin: str, work: Callable[[Tx], T]) -> T:
        # One greenlet for all of it: one for each step made an empty transaction half as dear again (160 µs, not 105).
        return await greenlet_spawn(self._transact_here, begin, work, current_request())

    def _transact_here(self, begin: str, work: Callable[[Tx], T], request: RequestContext | None) -> T:
        """Runs in a greenlet, in which `await_only` awaits."""
        with self._engine.sync_engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            try:
                _begin(driver, begin)
                result = work(_tx_on(connection, driver, request))
            except TimeoutError:
                connection.invalidate()  # nothing more can be asked of it
                raise
            except BaseException:
                _give_back(connection, driver)
                raise
            try:
                answer = await_only(driver.execute("COMMIT"))
            except (*_LOST, *_SHUT) as lost:
                connection.invalidate()
                raise OutcomeUnknown from lost
            if answer != "COMMIT":
                raise NotCommitted(answer)
            return result

    def _translated(self, error: BaseException) -> BaseException:
        if isinstance(error, _REFUSED):
            return RowRejected()
        if isinstance(error, (*_LOST, *_SHUT, *_REPEAT, *_TOO_LONG, OutcomeUnknown)):
            return Unavailable(f"the {self.name} database is not available")
        if isinstance(error, asyncpg.InsufficientResourcesError):
            return Unavailable(f"the {self.name} database has no room left")
        return error

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=ANSWER_S + GIVING_UP_S)
        await self._engine.dispose()


def _begin(driver: Any, begin: str) -> None:
    try:
        await_only(driver.execute(begin))
    except TimeoutError:
        raise  # others would be as silent, one after the other
    except (*_LOST, *_SHUT) as dead:
        raise _DeadConnection from dead


def _give_back(connection: sa.Connection, driver: Any) -> None:
    """Rolls back, or throws the connection away when that is impossible."""
    try:
        await_only(driver.execute("ROLLBACK"))
    except (*_LOST, asyncpg.PostgresError):
        connection.invalidate()


def _driver_error(wrapped: exc.DBAPIError) -> BaseException:
    """asyncpg's own error beneath SQLAlchemy's two wrappers."""
    error: BaseException = wrapped
    while not isinstance(error, (asyncpg.PostgresError, *_LOST)):
        beneath = error.__cause__ or getattr(error, "orig", None)
        if beneath is None or beneath is error:
            return wrapped
        error = beneath
    return error


def _tx_on(connection: sa.Connection, driver: Any, request: RequestContext | None) -> Tx:
    def rows(sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        return await_only(driver.fetch(sql, *parameters))

    def run_many(sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        await_only(driver.executemany(sql, parameters))

    return Tx("postgres", connection, rows, run_many, request)
