"""The port: one context's own schema, and transactions on it.

A transaction is a plain function of a `Tx`. It cannot await, so nothing can call a neighbour while it holds
locks, and it may run again after a deadlock, so it must not change anything but the database.

    order = await database.write(lambda tx: store.place(tx, order))
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from doorbuster.kernel.cause import Cause
from doorbuster.kernel.request_context import RequestContext

T = TypeVar("T")
Dialect = Literal["sqlite", "postgres"]
Row = tuple[Any, ...]


class _Causes(NamedTuple):
    by_aggregate: Mapping[int, Cause | None]
    otherwise: Cause | None


class Tx:
    """An open transaction.

    `execute` takes SQLAlchemy Core and is dialect-neutral; `rows` and `run_many` take hot statements that are
    written for one dialect and go straight to its driver (`?` on SQLite, `$1` on PostgreSQL).

    `request` is the one that asked for this work, if one did. Who does the work of several in one transaction says of
    each event itself what it happened for.
    """

    __slots__ = ("_causes", "_connection", "_rows", "_run_many", "dialect", "request")

    def __init__(
        self,
        dialect: Dialect,
        connection: sa.Connection,
        rows: Callable[[str, Sequence[Any]], Sequence[Row]],
        run_many: Callable[[str, Sequence[Sequence[Any]]], None],
        request: RequestContext | None = None,
    ) -> None:
        self.dialect: Dialect = dialect
        self.request = request
        self._causes: _Causes | None = None
        self._connection = connection
        self._rows = rows
        self._run_many = run_many

    def execute(self, statement: sa.Executable, parameters: Any = None) -> CursorResult[Any]:
        return self._connection.execute(statement, parameters)

    def rows(self, sql: str, *parameters: Any) -> Sequence[Row]:
        return self._rows(sql, parameters)

    def run_many(self, sql: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._run_many(sql, parameters)

    def insert_if_absent(self, table: sa.Table, values: dict[str, Any]) -> bool:
        """Inserts the row unless one of its unique keys is taken; says whether it did."""
        return self.execute(self.insert(table).values(values).on_conflict_do_nothing()).rowcount == 1

    def insert_all_if_absent(self, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
        """Inserts those rows whose unique keys are free."""
        if rows:
            self.execute(self.insert(table).on_conflict_do_nothing(), rows)

    def insert(self, table: sa.Table) -> Any:
        """An INSERT that knows ON CONFLICT, which the dialects spell alike."""
        if self.dialect == "sqlite":
            from sqlalchemy.dialects.sqlite import insert
        else:
            from sqlalchemy.dialects.postgresql import insert
        return insert(table)

    def cause_of(self, aggregate_id: int) -> Cause | None:
        """Why something happens now to this aggregate, as far as this transaction knows."""
        if self._causes is not None:
            return self._causes.by_aggregate.get(aggregate_id, self._causes.otherwise)
        return None if self.request is None else self.request.cause

    @contextmanager
    def caused_by(self, by_aggregate: Mapping[int, Cause | None], otherwise: Cause | None) -> Generator[None]:
        """Meanwhile, whatever happens has the cause of its aggregate, and of one that is not named, `otherwise`."""
        before, self._causes = self._causes, _Causes(by_aggregate, otherwise)
        try:
            yield
        finally:
            self._causes = before

    @property
    def connection(self) -> sa.Connection:
        """For migrations, which need the whole of SQLAlchemy."""
        return self._connection


class Database(Protocol):
    """One context's schema: a file on SQLite, a schema on PostgreSQL."""

    @property
    def dialect(self) -> Dialect: ...
    @property
    def name(self) -> str: ...

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` in one durable transaction and returns what it returned, after the commit.

        Once asked for it is carried through, also when the caller is cancelled. Deadlocks and serialisation
        failures repeat it, at most `REPEATS_MAX` times.
        Raises RowRejected (a constraint refused the data; rolled back), Unavailable (not committed),
        OutcomeUnknown (the connection was lost during the commit), and whatever `work` raises (rolled back).
        """
        ...

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs `work` on one consistent snapshot. Raises Unavailable."""
        ...

    async def close(self) -> None: ...


REPEATS_MAX = 5
"""How often a transaction that lost a deadlock is repeated before it is given up as Unavailable."""
