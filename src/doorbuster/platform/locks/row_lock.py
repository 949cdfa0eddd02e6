"""Locks as rows with a lease, on either database: for shops that have nothing else.

The database's clock counts the lease (on SQLite that of the machine, which all its processes share), and one statement
decides. Tokens are as durable as the database.
"""

from __future__ import annotations

import sqlalchemy as sa

from doorbuster.platform.locks.holding import Holding
from doorbuster.platform.locks.port import LEASE_MS
from doorbuster.platform.sql.database import Database, Tx

_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgres": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}
_TAKE = """
    INSERT INTO locks (name, owner, until_ms, token) VALUES (:name, :owner, {now} + :lease, 1)
    ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until_ms = excluded.until_ms, token = locks.token + 1
    WHERE locks.until_ms <= {now} RETURNING token
"""
_RENEW = "UPDATE locks SET until_ms = {now} + :lease WHERE name = :name AND owner = :owner AND until_ms > {now}"
_RELEASE = "UPDATE locks SET until_ms = 0 WHERE name = :name AND owner = :owner AND until_ms > {now}"


class RowLocks(Holding):
    """`database` has the tables of `tables.HISTORY`."""

    def __init__(self, database: Database, lease_ms: int = LEASE_MS) -> None:
        super().__init__(lease_ms)
        self._database = database

    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int:
        def work(tx: Tx) -> int:
            row = tx.execute(*self._worded(_TAKE, name, owner, lease_ms)).first()
            return int(row.token) if row is not None else 0

        return await self._database.write(work)

    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool:
        return await self._changed(_RENEW, name, owner, lease_ms)

    async def release(self, name: str, owner: str) -> bool:
        return await self._changed(_RELEASE, name, owner, None)

    async def _changed(self, statement: str, name: str, owner: str, lease_ms: int | None) -> bool:
        worded = self._worded(statement, name, owner, lease_ms)
        return await self._database.write(lambda tx: tx.execute(*worded).rowcount == 1)

    def _worded(
        self, statement: str, name: str, owner: str, lease_ms: int | None
    ) -> tuple[sa.TextClause, dict[str, object]]:
        words: dict[str, object] = {"name": name, "owner": owner, "lease": lease_ms or self.lease_ms}
        text = statement.format(now=_NOW_MS[self._database.dialect])
        return sa.text(text), {key: word for key, word in words.items() if f":{key}" in text}
