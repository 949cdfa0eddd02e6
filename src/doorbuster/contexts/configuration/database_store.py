"""The port ConfigStore on the shop's own database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from doorbuster.contexts.configuration import store
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings.config_store import Change, Proposal, Snapshot
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

SWEEP_S = 0.25
"""Wake-ups are hints, and the command line and other machines send none: so often the version is read without one."""


class DatabaseConfigStore:
    """`source`: by which name its wake-ups go."""

    def __init__(self, database: Database, wakeups: Wakeups, source: str, sweep_s: float = SWEEP_S) -> None:
        self._database = database
        self._wakeups = wakeups
        self._source = source
        self._sweep_s = sweep_s

    async def read(self) -> Snapshot:
        return await self._database.read(store.snapshot)

    async def put(self, expected: int, proposal: Proposal) -> Change:
        def work(tx: Tx) -> Change:
            change = store.put(tx, expected, proposal)
            crash_point("configuration.not-committed")
            return change

        change = await self._database.write(work)
        crash_point("configuration.committed")
        self._wakeups.wake(self._source)
        return change

    async def changes_after(self, version: int, limit: int) -> Sequence[Change]:
        return await self._database.read(lambda tx: store.changes_after(tx, version, limit))

    async def changes_before(self, version: int, limit: int) -> Sequence[Change]:
        return await self._database.read(lambda tx: store.changes_before(tx, version, limit))

    async def newer_than(self, version: int) -> int:
        woken = self._wakeups.subscribe(self._source)
        try:
            while True:
                woken.clear()
                current = await self._database.read(store.version)
                if current > version:
                    return current
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sweep_s):
                        await woken.wait()
        finally:
            self._wakeups.unsubscribe(self._source, woken)
