"""What only PostgreSQL's advisory locks do."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from doorbuster.kernel.errors import Overloaded, Unavailable
from doorbuster.platform.locks.advisory_lock import HELD_MAX
from locks_opening import opened
from postgres_server import PostgresServer

from .conftest import LONG_MS

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doorbuster-locks'"


async def test_a_process_that_ends_frees_its_locks_at_once(postgres_url: str, until):
    first, _ = await opened("advisory", postgres_url, "", LONG_MS)
    second, close_second = await opened("advisory", postgres_url, "", LONG_MS)
    before = await first.take("shelf", "a")
    assert not await second.take("shelf", "b")
    first._pool.terminate()  # as the end of a process does
    assert await until(lambda: second.take("shelf", "b")) > before
    await close_second()


async def test_a_session_that_was_ended_has_lost_its_lock(postgres_url: str, until):
    locks, close = await opened("advisory", postgres_url, "", LONG_MS)
    other, close_other = await opened("advisory", postgres_url, "", LONG_MS)
    assert await locks.take("shelf", "a")
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(END_SESSIONS)
    await connection.close()
    assert not await locks.renew("shelf", "a")
    assert not await locks.release("shelf", "a")

    async def taken() -> int:
        try:
            return await other.take("shelf", "b")
        except Unavailable:
            return 0  # its pooled session was ended, too

    assert await until(taken)
    assert not await locks.take("shelf", "a")
    await close()
    await close_other()


async def test_sessions_are_bounded_and_come_back(postgres_url: str):
    locks, close = await opened("advisory", postgres_url, "", LONG_MS)
    other, close_other = await opened("advisory", postgres_url, "", LONG_MS)
    for at in range(HELD_MAX):
        assert await locks.take(f"shelf-{at}", "a")
    with pytest.raises(Overloaded):
        await locks.take("one more", "a")
    assert await locks.release("shelf-0", "a")
    assert await locks.take("one more", "a")
    tries = await asyncio.gather(*[other.take("shelf-1", "b") for _ in range(2 * HELD_MAX)], return_exceptions=True)
    assert sum(isinstance(each, Overloaded) for each in tries) == HELD_MAX
    assert [each for each in tries if each == 0] == [0] * HELD_MAX
    await close()
    assert await other.take("shelf-1", "b"), "closing lets go of everything"
    await close_other()


async def test_no_server_is_unavailable(own_postgres: PostgresServer):
    locks, close = await opened("advisory", own_postgres.url, "", LONG_MS)
    assert await locks.take("shelf", "a")
    own_postgres.control("stop")
    try:
        assert not await locks.renew("shelf", "a")
        with pytest.raises(Unavailable):
            await locks.take("another shelf", "a")
    finally:
        own_postgres.control("restart")
        await close()
