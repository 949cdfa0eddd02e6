"""Migrations: once each, all or nothing, and exactly the tables that the code names."""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from conftest import NOW_MS
from doorbuster.apps.shop import HISTORIES
from doorbuster.platform.bus.tables import metadata as bus
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import metadata as idempotency
from doorbuster.platform.sql.migrations import History, NewerSchema, migrate, pending
from doorbuster.platform.sql.open import open_databases
from doorbuster.platform.sql.workers import metadata as workers

STEPS = {
    "0001_first": "op.create_table('steps', sa.Column('name', sa.Text, primary_key=True))",
    "0002_second": "op.execute(\"INSERT INTO steps (name) VALUES ('second')\")",
    "0003_third": "op.add_column('steps', sa.Column('extra', sa.Text))",
}

WriteHistory = Callable[[dict[str, str]], History]


@pytest.fixture
def history_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteHistory:
    """`history_of({"0001_first": "op.create_table(...)"})` → a history with these migrations."""
    made = iter(range(100))
    monkeypatch.syspath_prepend(tmp_path)

    def write(steps: dict[str, str]) -> History:
        package = f"history_{tmp_path.name}_{next(made)}".replace("-", "_")
        folder = tmp_path / package
        folder.mkdir()
        (folder / "__init__.py").touch()
        for revision, body in steps.items():
            upgrade = f"def upgrade():\n{textwrap.indent(body, '    ')}\n"
            (folder / f"{revision}.py").write_text(f"import sqlalchemy as sa\nfrom alembic import op\n\n\n{upgrade}")
        importlib.invalidate_caches()
        return History(package)

    return write


@pytest.fixture
async def empty(database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Database]:
    """A database without tables."""
    database = (await open_databases(database_settings, tmp_path, ["empty"]))["empty"]
    yield database
    await database.close()


def tables(tx: Tx) -> set[str]:
    return set(sa.inspect(tx.connection).get_table_names())


async def test_what_is_pending_is_applied_in_order_and_once(empty: Database, history_of: WriteHistory):
    history = history_of(STEPS)
    assert await pending(empty, history) == list(STEPS)
    assert await migrate(empty, history, NOW_MS) == list(STEPS)
    assert await pending(empty, history) == []
    assert await migrate(empty, history, NOW_MS) == []
    rows = await empty.read(lambda tx: tx.rows("SELECT name, extra FROM steps"))
    assert [tuple(row) for row in rows] == [("second", None)]


async def test_a_newer_version_applies_only_what_is_new(empty: Database, history_of: WriteHistory):
    older = {name: body for name, body in STEPS.items() if name != "0003_third"}
    await migrate(empty, history_of(older), NOW_MS)
    newer = history_of(STEPS)
    assert await pending(empty, newer) == ["0003_third"]
    assert await migrate(empty, newer, NOW_MS) == ["0003_third"]


async def test_an_older_version_refuses_a_newer_schema(empty: Database, history_of: WriteHistory):
    await migrate(empty, history_of(STEPS), NOW_MS)
    older = history_of({name: body for name, body in STEPS.items() if name != "0003_third"})
    for start in (pending(empty, older), migrate(empty, older, NOW_MS)):
        with pytest.raises(NewerSchema, match="0003_third"):
            await start


async def test_a_migration_that_fails_leaves_nothing_and_can_be_mended(empty: Database, history_of: WriteHistory):
    broken = "op.create_table('half', sa.Column('name', sa.Text))\nraise ZeroDivisionError"
    with pytest.raises(ZeroDivisionError):
        await migrate(empty, history_of({"0001_first": STEPS["0001_first"], "0002_second": broken}), NOW_MS)
    assert await empty.read(tables) == {"steps", "schema_version"}
    assert await migrate(empty, history_of(STEPS), NOW_MS) == ["0002_second", "0003_third"]


async def test_many_starts_at_once_apply_each_migration_once(
    database_settings: DatabaseSettings, tmp_path: Path, history_of: WriteHistory
):
    history = history_of(STEPS)
    opened = [(await open_databases(database_settings, tmp_path, ["empty"]))["empty"] for _ in range(5)]
    applied = await asyncio.gather(*(migrate(database, history, NOW_MS) for database in opened))
    assert sorted(revision for each in applied for revision in each) == list(STEPS)
    rows = await opened[0].read(lambda tx: tx.rows("SELECT name FROM steps"))
    assert [tuple(row) for row in rows] == [("second",)]
    for database in opened:
        await database.close()


def start_at_once(url: str, folder: Path, count: int) -> list[dict[str, Any]]:
    """What so many processes tell about their start; see starting_up.py."""
    command = [sys.executable, Path(__file__).with_name("starting_up.py"), url, folder]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate(timeout=60)[0]) for process in processes]


def test_processes_that_start_at_once_share_neither_migrations_nor_worker_numbers(
    database_settings: DatabaseSettings, tmp_path: Path
):
    told = start_at_once(database_settings.url, tmp_path, 4)
    assert sorted(each["applied"] for each in told) == [[], [], [], ["0001_first"]]
    assert sorted(each["number"] for each in told) == [0, 1, 2, 3]
    assert len({made for each in told for made in each["ids"]}) == 400


def tables_of(context: str) -> sa.MetaData:
    return importlib.import_module(f"doorbuster.contexts.{context}.tables").metadata


METADATA: dict[str, list[sa.MetaData]] = {
    **{
        name: [tables_of(name), bus, idempotency]
        for name in (
            "accounts",
            "catalog",
            "inventory",
            "flash_sale",
            "orders",
            "checkout",
            "delivery",
            "notifications",
            "support",
        )
    },
    "payments": [importlib.import_module("doorbuster.contexts.payments.store.tables").metadata, bus],
    "configuration": [tables_of("configuration"), bus],
    "waiting_room": [tables_of("waiting_room"), bus],
    "workers": [workers],
}


def test_every_history_is_compared_below():
    assert set(METADATA) == set(HISTORIES)


def merged(parts: list[sa.MetaData]) -> sa.MetaData:
    metadata = sa.MetaData()
    for part in parts:
        for table in part.tables.values():
            table.to_metadata(metadata)
    return metadata


def differences(tx: Tx, metadata: sa.MetaData) -> list[Any]:
    """Between the tables that are there and those that the code names."""
    options = {"include_name": lambda name, kind, _: (kind, name) != ("table", "schema_version")}
    found = list(compare_metadata(MigrationContext.configure(tx.connection, opts=options), metadata))
    inspector = sa.inspect(tx.connection)
    for table in metadata.tables.values():  # Alembic does not compare checks
        if not inspector.has_table(table.name):
            continue
        there = {check["name"] for check in inspector.get_check_constraints(table.name)}
        named = {check.name for check in table.constraints if isinstance(check, sa.CheckConstraint)}
        found += [("check", table.name, name) for name in there ^ named]
    return found


@pytest.mark.parametrize("name", METADATA)
async def test_the_migrated_schema_is_the_one_the_code_names(empty: Database, name: str):
    await migrate(empty, HISTORIES[name], NOW_MS)
    assert await empty.read(lambda tx: differences(tx, merged(METADATA[name]))) == []


CAUSES = {"outbox": "cause", "parked_events": "cause"}
"""Columns that later migrations add, where the first one has not made them already."""


def without_causes(tx: Tx, name: str) -> None:
    """A database of before events had causes, with an event and a dead letter in it."""
    columns = [*CAUSES.items(), *([("payments", "cause")] if name == "payments" else [])]
    for table, column in columns:
        tx.execute(sa.text(f"ALTER TABLE {table} DROP COLUMN {column}"))
    tx.execute(sa.text("DELETE FROM schema_version WHERE revision LIKE '%_event_causes'"))
    tx.execute(
        sa.text("INSERT INTO outbox (txid, type, aggregate_id, payload, at_ms) VALUES (1, 'a.b', 7, :payload, 1)"),
        {"payload": b"{}"},
    )
    tx.execute(
        sa.text(
            "INSERT INTO parked_events (consumer, seq, type, payload, at_ms, attempts, next_try_ms, dead, error) "
            "VALUES ('c', 1, 'a.b', :payload, 1, 8, 0, true, 'x')"
        ),
        {"payload": b"{}"},
    )


@pytest.mark.parametrize("name", [name for name in METADATA if name != "workers"])
async def test_a_database_of_before_events_had_causes_is_upgraded(empty: Database, name: str):
    await migrate(empty, HISTORIES[name], NOW_MS)
    await empty.write(lambda tx: without_causes(tx, name))
    assert await empty.read(lambda tx: differences(tx, merged(METADATA[name]))) != []
    (revision,) = await migrate(empty, HISTORIES[name], NOW_MS)
    assert revision.endswith("_event_causes")
    assert await empty.read(lambda tx: differences(tx, merged(METADATA[name]))) == []
    for table in CAUSES:
        rows = await empty.read(lambda tx, table=table: tx.rows(f"SELECT type, cause FROM {table}"))
        assert [tuple(row) for row in rows] == [("a.b", "")]
    # An older process that still runs writes rows without one.
    await empty.write(
        lambda tx: tx.rows(
            "INSERT INTO outbox (txid, type, aggregate_id, payload, at_ms) "
            "SELECT txid, type, aggregate_id, payload, at_ms FROM outbox"
        )
    )


async def test_a_schema_that_differs_is_noticed(empty: Database):
    await migrate(empty, HISTORIES["orders"], NOW_MS)
    metadata = merged(METADATA["orders"])
    outbox, orders = metadata.tables["outbox"], metadata.tables["orders"]
    outbox.append_column(sa.Column("forgotten", sa.Text))
    sa.Index("forgotten_index", outbox.c.at_ms)
    orders.append_constraint(sa.CheckConstraint("total_amount < 5", name="forgotten_check"))
    metadata.remove(metadata.tables["inbox"])
    sa.Table("forgotten_table", metadata, sa.Column("id", sa.Integer, primary_key=True))
    found = await empty.read(lambda tx: differences(tx, metadata))
    assert {entry[0] for entry in found} == {"add_column", "add_index", "add_table", "remove_table", "check"}


async def test_ids_of_the_outbox_are_never_given_twice_on_sqlite(empty: Database):
    if empty.dialect == "sqlite":
        await migrate(empty, HISTORIES["orders"], NOW_MS)
        sql = (await empty.read(lambda tx: tx.rows("SELECT sql FROM sqlite_master WHERE name = 'outbox'")))[0][0]
        assert "AUTOINCREMENT" in sql
