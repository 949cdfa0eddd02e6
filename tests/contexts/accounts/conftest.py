"""A shop whose passwords are hashed at the lowest cost, on both databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from argon2.profiles import CHEAPEST

from contexts.accounts.accounts_shop import Shop
from doorbuster.contexts.accounts.wiring import build
from doorbuster.kernel.clock import ManualClock
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.sql.database import Database


@pytest.fixture
async def shop(
    open_database: Callable[[str, str], Awaitable[Database]], platform: Platform, clock: ManualClock
) -> Shop:
    database = await open_database("accounts", "doorbuster.contexts.accounts.migrations")
    ring = KeyRing([Key.generate()], clock)
    return Shop(build(platform, database, ring, CHEAPEST), database, platform, clock, ring)
