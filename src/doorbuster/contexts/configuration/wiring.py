"""Builds configuration, and keeps the runtime settings of the process those of the store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from doorbuster.contexts.configuration.database_store import SWEEP_S, DatabaseConfigStore
from doorbuster.contexts.configuration.service import NAME, TOPIC, ConfigurationService
from doorbuster.platform.bus.hub import Hub, ReadChanges
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.settings.config_store import ConfigStore
from doorbuster.platform.settings.following import follow
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

HISTORY = History("doorbuster.contexts.configuration.migrations")


@dataclass(frozen=True)
class ConfigurationContext:
    service: ConfigurationService
    context: Context


def build(platform: Platform, database: Database, store: ConfigStore | None = None) -> ConfigurationContext:
    """`store`: another home for the settings than `database`."""
    kept = store or DatabaseConfigStore(database, platform.wakeups, NAME)
    hub = Hub(NAME, platform.wakeups, _changes(kept), SWEEP_S)
    service = ConfigurationService(platform, kept, hub)

    def faces() -> Faces:
        from doorbuster.contexts.configuration import http

        return Faces(http.routes(service))

    return ConfigurationContext(
        service,
        Context(
            name=NAME,
            database=database,
            history=HISTORY,
            faces=faces,
            tasks=(BackgroundTask("settings", "every", lambda: follow(kept, platform.runtime)),),
        ),
    )


def _changes(store: ConfigStore) -> ReadChanges:
    """For those who watch: versions become visible in their own order."""

    async def newest() -> int:
        return (await store.read()).version

    async def read(after: int) -> tuple[int, Collection[int]]:
        version = await newest()
        return version, (TOPIC,) if version > after else ()

    return ReadChanges(newest, read)
