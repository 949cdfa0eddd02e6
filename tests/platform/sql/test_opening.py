"""Opening the databases: what is refused, and by which name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.settings.tree import DatabaseSettings, WrongSetting
from doorbuster.platform.sql.open import NotDurable, open_databases
from postgres_server import PostgresServer

from ..conftest import Until
from . import counters

NAMES = ["accounts", "orders"]


@pytest.fixture
async def admin(own_postgres: PostgresServer) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(own_postgres.url)
    yield connection
    await connection.close()


async def test_each_context_has_a_schema_or_a_file_of_its_own(database_settings: DatabaseSettings, tmp_path: Path):
    databases = await open_databases(database_settings, tmp_path / "made on the way", NAMES)
    for name, database in databases.items():
        await database.write(counters.create)
        await database.write(lambda tx, name=name: counters.put(tx, name))
    assert {name: await database.read(counters.everything) for name, database in databases.items()} == {
        "accounts": {"accounts": 0},
        "orders": {"orders": 0},
    }
    for database in databases.values():
        await database.close()


async def test_the_data_folder_is_for_its_owner_only(tmp_path: Path):
    await open_databases(DatabaseSettings(), tmp_path / "data", NAMES)
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


async def test_what_was_written_is_there_after_reopening(database_settings: DatabaseSettings, tmp_path: Path):
    for start in range(3):
        (database,) = (await open_databases(database_settings, tmp_path, ["books"])).values()
        await database.write(counters.create)
        await database.write(lambda tx, start=start: counters.put(tx, f"start {start}"))
        assert len(await database.read(counters.everything)) == start + 1
        await database.close()


async def test_many_processes_may_make_the_schemas_at_once(postgres_url: str, tmp_path: Path):
    settings = DatabaseSettings(url=postgres_url)
    opened = await asyncio.gather(*(open_databases(settings, tmp_path, NAMES) for _ in range(8)))
    assert [list(databases) for databases in opened] == [NAMES] * 8


@pytest.mark.parametrize(("name", "value"), [("fsync", "off"), ("synchronous_commit", "off")])
async def test_a_server_that_may_lose_acknowledged_commits_is_refused(
    own_postgres: PostgresServer, admin: Any, until: Until, tmp_path: Path, name: str, value: str
):
    await admin.execute(f"ALTER SYSTEM SET {name} = {value}")
    await admin.execute("SELECT pg_reload_conf()")
    await until(lambda: admin.fetchval(f"SELECT current_setting('{name}') = '{value}'"))
    with pytest.raises(NotDurable, match=f"{name}={value}"):
        await open_databases(DatabaseSettings(url=own_postgres.url), tmp_path, NAMES)
    assert await admin.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = ANY($1)", NAMES) == 0
    allowed = await open_databases(DatabaseSettings(url=own_postgres.url, allow_volatile=True), tmp_path, NAMES)
    assert list(allowed) == NAMES


@pytest.mark.parametrize("value", ["on", "local", "remote_write", "remote_apply"])
async def test_settings_that_survive_a_crash_are_accepted(
    own_postgres: PostgresServer, admin: Any, until: Until, tmp_path: Path, value: str
):
    await admin.execute(f"ALTER SYSTEM SET synchronous_commit = {value}")
    await admin.execute("SELECT pg_reload_conf()")
    await until(lambda: admin.fetchval(f"SELECT current_setting('synchronous_commit') = '{value}'"))
    assert list(await open_databases(DatabaseSettings(url=own_postgres.url), tmp_path, NAMES)) == NAMES


@pytest.mark.parametrize("url", ["sqlite:///x", "mysql://localhost/x", "localhost:5432", "/var/lib/x", "redis://x"])
async def test_an_address_that_is_no_postgres_is_a_wrong_setting(url: str, tmp_path: Path):
    with pytest.raises(WrongSetting, match=r"^database\.url"):
        await open_databases(DatabaseSettings(url=url), tmp_path, NAMES)


@pytest.mark.parametrize("url", ["postgresql://nobody@127.0.0.1:1/x", "postgres://127.0.0.1:1/x"])
async def test_a_server_that_does_not_answer_is_unavailable(url: str, tmp_path: Path):
    with pytest.raises(Unavailable, match=r"database\.url"):
        await open_databases(DatabaseSettings(url=url), tmp_path, NAMES)


async def test_the_password_is_in_no_error(own_postgres: PostgresServer, tmp_path: Path):
    for url in (
        own_postgres.url.replace("postgres@", "postgres:canary@").replace("/postgres", "/no_such_database"),
        "postgresql://postgres:canary@127.0.0.1:1/x",
        "postgresql://postgres:canary@127.0.0.1:not-a-port/x",
    ):
        with pytest.raises((Unavailable, WrongSetting)) as raised:
            await open_databases(DatabaseSettings(url=url), tmp_path, NAMES)
        assert "canary" not in f"{raised.value!r} {raised.value}"
