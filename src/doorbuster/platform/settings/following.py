"""Keeps the settings of this process those of the store."""

from __future__ import annotations

import asyncio

import structlog

from doorbuster.kernel.errors import Busy
from doorbuster.platform.settings.config_store import ConfigStore
from doorbuster.platform.settings.runtime import Runtime

OUTAGE_PAUSE_S = 0.5

log = structlog.get_logger("settings")


async def follow(store: ConfigStore, runtime: Runtime) -> None:
    """Until cancelled. While the store is away, what was last seen stays in force."""
    while True:
        try:
            await store.newer_than(runtime.version)
            runtime.apply(await store.read())
        except Busy as outage:
            log.warning("settings wait for their store", version=runtime.version, error=repr(outage))
            await asyncio.sleep(OUTAGE_PAUSE_S)
