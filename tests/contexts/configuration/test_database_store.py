"""The shop's own database as a home of settings: SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from conftest import OpenDatabase
from contexts.configuration.config_store_behaviour import ConfigStoreBehaviour, proposal
from doorbuster.contexts.configuration import store as module
from doorbuster.contexts.configuration.database_store import DatabaseConfigStore
from doorbuster.contexts.configuration.tables import changes, differences, entries, metadata
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings.config_store import ConfigStore, VersionMoved
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.open import open_databases


@pytest.fixture
async def database(open_database: OpenDatabase) -> Database:
    return await open_database("configuration", "doorbuster.contexts.configuration.migrations")


@pytest.fixture
def store(database: Database) -> ConfigStore:
    return DatabaseConfigStore(database, Wakeups(), "configuration")


@pytest.fixture
async def other(database: Database, database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[ConfigStore]:
    """The same tables through connections of its own, and without wake-ups from the first."""
    opened = (await open_databases(database_settings, tmp_path, ["configuration"]))["configuration"]
    yield DatabaseConfigStore(opened, Wakeups(), "configuration")
    await opened.close()


class TestDatabaseStore(ConfigStoreBehaviour):
    def keep_only(self, monkeypatch: pytest.MonkeyPatch, versions: int) -> None:
        monkeypatch.setattr(module, "VERSIONS_KEPT", versions)


async def test_a_refused_change_leaves_no_row(store: ConfigStore, database: Database):
    with pytest.raises(VersionMoved):
        await store.put(1, proposal(a=b"1"))
    for table in (changes, differences, entries):
        found = await database.read(lambda tx, table=table: tx.execute(sa.select(table)).all())
        assert found == []


async def test_the_migrated_tables_are_those_of_the_code(database: Database):
    def columns(tx):
        inspector = sa.inspect(tx.connection)
        return {
            table.name: [(each["name"], bool(each["nullable"])) for each in inspector.get_columns(table.name)]
            for table in metadata.sorted_tables
        }

    wanted = {
        table.name: [(column.name, bool(column.nullable)) for column in table.columns]
        for table in metadata.sorted_tables
    }
    assert await database.read(columns) == wanted
