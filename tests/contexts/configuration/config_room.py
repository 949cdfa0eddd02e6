"""Configuration on one database, as one process has it, with its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.configuration import wiring
from doorbuster.contexts.configuration.model import Wish
from doorbuster.contexts.configuration.service import ConfigurationService
from doorbuster.contexts.configuration.tables import changes, current, differences, entries
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.context import Context, Platform
from doorbuster.platform.settings.config_store import Change
from doorbuster.platform.settings.rollout import Entry
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.sql.database import Database

ROOT, OTHER_ROOT = Principal(301, "admin"), Principal(302, "admin")
TABLES = (current, entries, changes, differences)


@dataclass
class ConfigRoom:
    platform: Platform
    clock: ManualClock
    database: Database
    service: ConfigurationService
    context: Context

    @property
    def runtime(self) -> Runtime:
        return self.platform.runtime

    async def set(self, expected: int, values: Mapping[str, Any], who: Principal = ROOT, why: str = "a test") -> Change:
        return await self.service.change(who, expected, why, wishes(values))

    async def stored(self) -> dict[str, Any]:
        """What the rows hold, by name."""
        return {row.name: msgspec.json.decode(row.entry) for row in await self.rows(entries)}

    async def version(self) -> int:
        (row,) = await self.rows(current)
        return row.version

    async def rows(self, table: sa.Table) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        return [await self.rows(table) for table in TABLES]

    async def tamper(self, statement: sa.Executable) -> None:
        await self.database.write(lambda tx: tx.execute(statement))

    async def broken(self) -> list[str]:
        return [breach for check in await self.service.audit() for breach in check.breaches]


def wishes(values: Mapping[str, Any]) -> list[Wish]:
    """Fields (dicts), entries, or None, by name."""
    return [
        Wish(name, value if value is None or isinstance(value, Entry) else Entry(value))
        for name, value in values.items()
    ]


def open_room(platform: Platform, clock: ManualClock, database: Database) -> ConfigRoom:
    built = wiring.build(platform, database)
    return ConfigRoom(platform, clock, database, built.service, built.context)


def another_process(room: ConfigRoom) -> ConfigRoom:
    """The same rows, with a runtime and wake-ups of its own: nothing tells it but the store."""
    old = room.platform
    platform = Platform(old.settings, old.clock, old.ids, type(old.wakeups)())
    return open_room(platform, room.clock, room.database)
