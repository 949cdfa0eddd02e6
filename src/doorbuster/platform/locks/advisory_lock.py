"""PostgreSQL's advisory locks: free at once when their owner's process ends, and after a lease when it only sleeps.

Each lock that is held has a connection of its own, for the lock belongs to the session. Its lease is the session's
`idle_session_timeout`: the server ends a session that has said nothing for so long, and with it the lock. Renewing is
saying something. The token is a counter in a table, raised while the lock is held.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, cast

import asyncpg

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.locks.holding import Holding
from doorbuster.platform.locks.port import LEASE_MS

HELD_MAX = 8
"""Connections, and so locks that this process may hold or ask for at a time."""
TIMEOUT_S = 3.0
_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_RAISE = """
    INSERT INTO lock_fences (name, token) VALUES ($1, 1)
    ON CONFLICT (name) DO UPDATE SET token = lock_fences.token + 1 RETURNING token
"""


class _Session:
    """One connection, one question at a time."""

    def __init__(self, owner: str, connection: Any) -> None:
        self.owner, self.connection, self.turn = owner, connection, asyncio.Lock()


class AdvisoryLocks(Holding):
    """`schema` has the tables of `tables.HISTORY`. Locks of two schemas do not meet. PostgreSQL 14 or later."""

    def __init__(self, pool: Any, schema: str, lease_ms: int) -> None:
        super().__init__(lease_ms)
        self._pool, self._schema = pool, schema
        self._sessions: dict[str, _Session] = {}
        self._asking = 0

    @classmethod
    async def open(cls, url: str, schema: str, lease_ms: int = LEASE_MS) -> AdvisoryLocks:
        """Connects at the first lock."""
        settings = {"search_path": schema, "application_name": "doorbuster-locks"}
        pool = await cast(Any, asyncpg).create_pool(
            url, min_size=0, max_size=HELD_MAX, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S, server_settings=settings
        )
        return cls(pool, schema, lease_ms)

    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int:
        """Raises Overloaded when this process holds `HELD_MAX` locks already."""
        if len(self._sessions) + self._asking >= HELD_MAX:
            raise Overloaded("too many advisory locks are held")
        self._asking += 1
        try:
            connection = await self._pool.acquire(timeout=TIMEOUT_S)
            try:
                token = await self._taken(connection, name, lease_ms or self.lease_ms)
            except BaseException:
                connection.terminate()  # whatever it holds ends with it
                await self._pool.release(connection)
                raise
            if not token:
                await self._pool.release(connection)
                return 0
        except _FAILURES as failure:
            raise Unavailable("the lock server is not available") from failure
        finally:
            self._asking -= 1
        await self._forget(name)
        self._sessions[name] = _Session(owner, connection)
        return token

    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool:
        """False also when the connection was lost: then so was the lock."""
        session = self._session(name, owner)
        if session is None:
            return False
        try:
            async with session.turn:
                await session.connection.execute(_leased(lease_ms or self.lease_ms))
        except _FAILURES:
            await self._forget(name)
            return False
        return True

    async def release(self, name: str, owner: str) -> bool:
        session = self._session(name, owner)
        if session is None:
            return False
        try:
            async with session.turn:
                return await session.connection.fetchval("SELECT pg_advisory_unlock($1)", self._key(name))
        except _FAILURES:
            return False
        finally:
            if self._sessions.get(name) is session:
                await self._forget(name)

    async def close(self) -> None:
        """Lets go of everything."""
        for name in list(self._sessions):
            await self._forget(name)
        await self._pool.close()

    async def _taken(self, connection: Any, name: str, lease_ms: int) -> int:
        # The lease first: whoever is stopped right after the lock must lose it, too.
        await connection.execute(_leased(lease_ms))
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._key(name)):
            return 0
        return await connection.fetchval(_RAISE, name)

    async def _forget(self, name: str) -> None:
        """The session that had it, if any: ended by the server, or given back to the pool, which lets its locks go."""
        session = self._sessions.pop(name, None)
        if session is None:
            return
        try:
            await self._pool.release(session.connection)
        except _FAILURES:
            session.connection.terminate()

    def _session(self, name: str, owner: str) -> _Session | None:
        session = self._sessions.get(name)
        return session if session is not None and session.owner == owner else None

    def _key(self, name: str) -> int:
        digest = hashlib.blake2b(f"{self._schema}\0{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big", signed=True)


def _leased(lease_ms: int) -> str:
    return f"SET idle_session_timeout = {int(lease_ms)}"
