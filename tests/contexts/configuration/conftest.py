"""A configuration centre of its own on each database, and two groups that are declared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import OpenDatabase
from contexts.configuration.config_room import ConfigRoom, open_room
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from settings_groups import groups


@pytest.fixture(autouse=True)
def declared() -> Iterator[None]:
    with groups():
        yield


@pytest.fixture
async def room(open_database: OpenDatabase, platform: Platform, clock: ManualClock) -> ConfigRoom:
    database = await open_database("configuration", "doorbuster.contexts.configuration.migrations")
    return open_room(platform, clock, database)
