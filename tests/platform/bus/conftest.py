"""A bank that tells and books that listen, on each kind of database, and a relay between them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.open import open_databases

from . import ledger
from .ledger import Books

MakeRelay = Callable[..., Relay]


@pytest.fixture
async def databases(database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Mapping[str, Database]]:
    opened = await open_databases(database_settings, tmp_path, ["bank", "books"])
    for database in opened.values():
        await database.write(ledger.create)
    yield opened
    for database in opened.values():
        await database.close()


@pytest.fixture
def bank(databases: Mapping[str, Database]) -> Database:
    return databases["bank"]


@pytest.fixture
def books(databases: Mapping[str, Database]) -> Database:
    return databases["books"]


@pytest.fixture
def wakeups() -> Wakeups:
    return Wakeups()


@pytest.fixture
def make_relay(bank: Database, books: Database, wakeups: Wakeups, clock: ManualClock) -> MakeRelay:
    """`make_relay(Books().consumer)` → a relay from the bank to the books."""

    def make(listener: Books, source: Database = bank, target: Database = books) -> Relay:
        return Relay(source, target, listener.consumer, wakeups, clock)

    return make
