"""A database of each kind with a table to count in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.open import open_databases

from . import counters


@pytest.fixture
async def database(database_settings: DatabaseSettings, tmp_path: Path) -> AsyncIterator[Database]:
    opened = (await open_databases(database_settings, tmp_path, ["books"]))["books"]
    await opened.write(counters.create)
    yield opened
    await opened.close()
