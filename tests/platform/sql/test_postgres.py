"""What only PostgreSQL can do to a transaction: deadlocks, lost connections, a server that goes away and comes back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa

from doorbuster.kernel.errors import OutcomeUnknown, Unavailable
from doorbuster.platform.sql import postgres as module
from doorbuster.platform.sql.database import REPEATS_MAX, Tx
from doorbuster.platform.sql.postgres import NotCommitted, PostgresDatabase
from postgres_server import PostgresServer, standing_still

from ..conftest import Until
from ..gate import Gate
from . import counters

GATE = 4711
"""An advisory lock that COMMIT waits for, where a test asks for it."""
SLOW_COMMIT = f"""
    CREATE FUNCTION books.wait_for_the_gate() RETURNS trigger LANGUAGE plpgsql
        AS 'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON books.counters DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION books.wait_for_the_gate();
"""


async def opened(url: str, pool_size: int = 4) -> PostgresDatabase:
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE SCHEMA IF NOT EXISTS books")
    await connection.close()
    database = PostgresDatabase("books", url, pool_size)
    await database.write(counters.create)
    return database


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    database = await opened(postgres_url)
    yield database
    await database.close()


@pytest.fixture
async def admin(postgres_url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


@pytest.fixture
async def own_database(own_postgres: PostgresServer) -> AsyncIterator[PostgresDatabase]:
    database = await opened(own_postgres.url)
    yield database
    await database.close()


async def waiting_backend(admin: Any, query: str) -> int | None:
    """The process id of a backend of ours that waits in `query`."""
    return await admin.fetchval(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND state = 'active' AND wait_event_type IN ('Lock', 'IPC', 'Timeout') AND query LIKE $1",
        query,
    )


def fail_with(code: str, path: str) -> Callable[[Tx], None]:
    """The server itself answers with an error of this code, through SQLAlchemy or through the driver."""
    sql = f"DO $$ BEGIN RAISE EXCEPTION 'asked for' USING ERRCODE = '{code}'; END $$"
    return (lambda tx: tx.execute(sa.text(sql))) if path == "core" else (lambda tx: tx.rows(sql))


@pytest.mark.parametrize("path", ["core", "native"])
@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization failure"])
async def test_a_lost_race_is_repeated_until_it_is_won(database: PostgresDatabase, code: str, path: str):
    attempts = 0

    def work(tx: Tx) -> None:
        nonlocal attempts
        attempts += 1
        counters.put(tx, f"attempt {attempts}")
        if attempts < REPEATS_MAX:
            fail_with(code, path)(tx)

    await database.write(work)
    assert await database.read(counters.everything) == {f"attempt {REPEATS_MAX}": 0}


@pytest.mark.parametrize("path", ["core", "native"])
async def test_a_race_that_is_always_lost_is_given_up(database: PostgresDatabase, path: str):
    attempts = 0

    def work(tx: Tx) -> None:
        nonlocal attempts
        attempts += 1
        counters.put(tx, "a")
        fail_with("40P01", path)(tx)

    with pytest.raises(Unavailable):
        await database.write(work)
    assert attempts == REPEATS_MAX
    assert await database.read(counters.everything) == {}


async def test_a_real_deadlock_costs_a_repeat_and_no_update(database: PostgresDatabase):
    await database.write(lambda tx: [counters.put(tx, name) for name in "ab"])
    first_lock_held = {"ab": 0, "ba": 0}

    def crossing(order: str) -> Callable[[Tx], None]:
        def work(tx: Tx) -> None:
            tx.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
            counters.add(tx, order[0])
            first_lock_held[order] += 1
            while min(first_lock_held.values()) == 0:
                counters.value(tx, "a")
            counters.add(tx, order[1])

        return work

    await asyncio.gather(*(database.write(crossing(order)) for order in first_lock_held))
    assert sum(first_lock_held.values()) == 3
    assert await database.read(counters.everything) == {"a": 2, "b": 2}


async def test_a_connection_lost_during_commit_is_an_unknown_outcome(
    database: PostgresDatabase, admin: Any, until: Until
):
    """Here the server had not committed yet."""
    await admin.execute(SLOW_COMMIT)
    await admin.execute(f"SELECT pg_advisory_lock({GATE})")
    writing = asyncio.create_task(database.write(lambda tx: counters.put(tx, "a")))
    pid = await until(lambda: waiting_backend(admin, "COMMIT"))
    await admin.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(OutcomeUnknown):
        await writing
    await admin.execute(f"SELECT pg_advisory_unlock({GATE})")
    assert await database.read(counters.everything) == {}
    await database.write(lambda tx: counters.put(tx, "a"))


async def test_a_server_killed_during_commit_leaves_an_unknown_outcome(
    own_postgres: PostgresServer, own_database: PostgresDatabase, until: Until
):
    """Here the server had committed: whoever took this for a failure would do it twice."""
    admin = await asyncpg.connect(own_postgres.url)
    await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await admin.execute("SELECT pg_reload_conf()")
    await until(lambda: admin.fetchval("SELECT current_setting('synchronous_standby_names') = 'nobody'"))
    writing = asyncio.create_task(own_database.write(lambda tx: counters.put(tx, "a")))
    await until(lambda: waiting_backend(admin, "COMMIT"))
    own_postgres.control("stop", "-m", "immediate")
    with pytest.raises(OutcomeUnknown):
        await writing
    own_postgres.control("restart")
    admin = await asyncpg.connect(own_postgres.url)
    await admin.execute("ALTER SYSTEM RESET ALL")
    await admin.execute("SELECT pg_reload_conf()")
    await admin.close()
    assert await own_database.read(counters.everything) == {"a": 0}


def kill_unnoticed(tx: Tx, url: str) -> None:
    """Ends the backend of `tx` while nobody listens: what is sent next goes to a dead connection."""

    async def kill(pid: int) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("SELECT pg_terminate_backend($1, 10000)", pid)
        await connection.close()

    killing = threading.Thread(target=lambda pid: asyncio.run(kill(pid)), args=tx.rows("SELECT pg_backend_pid()")[0])
    killing.start()
    killing.join()


async def test_only_a_write_has_an_unknown_outcome(database: PostgresDatabase, postgres_url: str):
    with pytest.raises(OutcomeUnknown):
        await database.write(lambda tx: kill_unnoticed(tx, postgres_url))
    with pytest.raises(Unavailable):
        await database.read(lambda tx: kill_unnoticed(tx, postgres_url))
    await database.write(lambda tx: counters.put(tx, "after"))


async def test_a_connection_lost_before_commit_did_nothing(database: PostgresDatabase, admin: Any, until: Until):
    def work(tx: Tx) -> None:
        counters.put(tx, "a")
        tx.execute(sa.text("SELECT pg_sleep(20)"))

    writing = asyncio.create_task(database.write(work))
    pid = await until(lambda: waiting_backend(admin, "SELECT pg_sleep%"))
    await admin.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(Unavailable):
        await writing
    assert await database.read(counters.everything) == {}


async def test_a_statement_that_takes_too_long_is_given_up(database: PostgresDatabase, admin: Any, until: Until):
    def work(tx: Tx) -> None:
        counters.put(tx, "a")
        tx.rows("SELECT pg_sleep(20)")

    writing = asyncio.create_task(database.write(work))
    pid = await until(lambda: waiting_backend(admin, "SELECT pg_sleep%"))
    await admin.execute("SELECT pg_cancel_backend($1)", pid)  # as statement_timeout does
    with pytest.raises(Unavailable):
        await writing
    assert await database.read(counters.everything) == {}


async def test_a_lock_that_is_not_to_be_had_is_given_up(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, until: Until
):
    monkeypatch.setattr(module, "LOCK_TIMEOUT_MS", 20)
    database, gate = await opened(postgres_url), Gate()
    await database.write(lambda tx: counters.put(tx, "a"))

    def hold(tx: Tx) -> None:
        counters.add(tx, "a")
        gate.hold(tx)

    holding = asyncio.create_task(database.write(hold))
    await gate.entered()
    for path in (counters.add, lambda tx, name: tx.rows("SELECT 1 FROM counters WHERE name = $1 FOR UPDATE", name)):
        with pytest.raises(Unavailable):
            await database.write(lambda tx, path=path: [counters.put(tx, "b"), path(tx, "a")])
    gate.open()
    await holding
    assert await database.read(counters.everything) == {"a": 1}
    await database.close()


async def test_every_connection_has_bounds_of_its_own(database: PostgresDatabase):
    def bounds(tx: Tx) -> dict[str, int]:
        found = tx.rows("SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout'")
        return {name: int(setting) for name, setting in found}

    shown = await database.read(bounds)
    assert shown["statement_timeout"] == shown["idle_in_transaction_session_timeout"] == module.STATEMENT_TIMEOUT_MS
    assert shown["lock_timeout"] == module.LOCK_TIMEOUT_MS


async def test_a_server_that_is_down_is_unavailable_and_one_that_is_back_is_not(
    own_postgres: PostgresServer, own_database: PostgresDatabase
):
    """Not one request fails after the server is back, although every pooled connection is dead."""

    def put(name: str) -> Callable[[Tx], None]:
        return lambda tx: [counters.put(tx, name), tx.rows("SELECT pg_sleep(0.02)")][0]

    await asyncio.gather(*(own_database.write(put(f"before {n}")) for n in range(4)))
    own_postgres.control("stop", "-m", "immediate")
    for _ in range(6):
        with pytest.raises(Unavailable):
            await own_database.write(put("down"))
        with pytest.raises(Unavailable):
            await own_database.read(counters.everything)
    own_postgres.control("restart")
    await asyncio.gather(*(own_database.write(put(f"after {n}")) for n in range(8)))
    assert len(await own_database.read(counters.everything)) == 12


async def test_a_restart_that_nobody_noticed_costs_nobody_a_request(
    own_postgres: PostgresServer, own_database: PostgresDatabase
):
    slow = "SELECT pg_sleep(0.02)"
    await asyncio.gather(*(own_database.write(lambda tx: tx.rows(slow)) for _ in range(4)))
    own_postgres.control("restart", "-m", "fast")
    await asyncio.gather(*(own_database.write(lambda tx: tx.rows(slow)) for _ in range(8)))


async def test_a_full_pool_is_unavailable_and_not_a_wait_for_ever(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, admin: Any, until: Until
):
    monkeypatch.setattr(module, "POOL_WAIT_S", 0.05)
    database = await opened(postgres_url, pool_size=1)
    holding = asyncio.create_task(database.write(lambda tx: tx.rows("SELECT pg_advisory_xact_lock(4712)")))
    await holding
    await admin.execute("SELECT pg_advisory_lock(4712)")
    holding = asyncio.create_task(database.write(lambda tx: tx.rows("SELECT pg_advisory_xact_lock(4712)")))
    await until(lambda: waiting_backend(admin, "SELECT pg_advisory_xact_lock%"))
    with pytest.raises(Unavailable):
        await database.write(lambda tx: counters.put(tx, "a"))
    await admin.execute("SELECT pg_advisory_unlock(4712)")
    await holding
    await database.write(lambda tx: counters.put(tx, "b"))
    assert await database.read(counters.everything) == {"b": 0}
    await database.close()


async def test_an_error_that_work_swallows_is_told_and_nothing_is_written(database: PostgresDatabase):
    """PostgreSQL answers such a COMMIT with ROLLBACK; taken for a success it would acknowledge what is not there."""

    def work(tx: Tx) -> str:
        counters.put(tx, "a")
        try:
            tx.rows("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            return "as if nothing had been"
        return "unreachable"

    with pytest.raises(NotCommitted):
        await database.write(work)
    assert await database.read(counters.everything) == {}
    await database.write(lambda tx: counters.put(tx, "b"))


async def test_a_server_that_stands_still_is_given_up_and_asked_again_on_other_connections(
    own_postgres: PostgresServer,
):
    """It keeps no time limit then, and no connection breaks."""
    database = await opened(own_postgres.url, pool_size=2)
    hasty = PostgresDatabase("books", own_postgres.url, pool_size=2, answer_s=0.3)
    try:
        await hasty.write(lambda tx: counters.put(tx, "a", 1))
        with standing_still(own_postgres), pytest.raises(Unavailable):
            await hasty.read(lambda tx: counters.value(tx, "a"))
        await hasty.write(lambda tx: counters.add(tx, "a", 1))
        assert await database.read(lambda tx: counters.value(tx, "a")) == 2
    finally:
        await hasty.close()
        await database.close()
