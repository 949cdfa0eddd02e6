"""A process that follows the store: what it has while the store is away, and afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from contexts.configuration.config_room import ConfigRoom, another_process
from doorbuster.apps.rooms import work_of
from doorbuster.apps.shop import open_shop
from doorbuster.contexts.configuration.database_store import DatabaseConfigStore
from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.settings import following
from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.declared import declared_as
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.settings.tree import Settings

LIMITS = "tests.limits"
UNTIL_S = 20.0


class Interrupted(DatabaseConfigStore):
    """The real store, behind a connection that can be cut."""

    away = False
    asked_in_vain = 0

    async def newer_than(self, version: int) -> int:
        self._check()
        return await super().newer_than(version)

    async def read(self) -> Snapshot:
        self._check()
        return await super().read()

    def _check(self) -> None:
        if self.away:
            self.asked_in_vain += 1
            raise Unavailable


async def until(runtime: Runtime, version: int) -> None:
    async with asyncio.timeout(UNTIL_S):
        while runtime.version < version:
            await asyncio.sleep(0.001)


async def test_while_the_store_is_away_the_last_settings_hold(room: ConfigRoom, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(following, "OUTAGE_PAUSE_S", 0.001)
    wakeups, runtime = Wakeups(), Runtime()
    store = Interrupted(room.database, wakeups, "configuration")
    live = runtime.live(declared_as(LIMITS))
    task = asyncio.create_task(following.follow(store, runtime))
    await room.set(0, {LIMITS: {"burst": 30}})
    await until(runtime, 1)
    store.away = True
    wakeups.wake("configuration")
    await room.set(1, {LIMITS: {"burst": 40}})
    async with asyncio.timeout(UNTIL_S):
        while store.asked_in_vain < 3:
            await asyncio.sleep(0.001)
    assert (runtime.version, live().burst, task.done()) == (1, 30, False)
    store.away = False
    await until(runtime, 2)
    assert live().burst == 40
    task.cancel()


async def test_both_rooms_of_one_process_are_fed_by_one_task(room: ConfigRoom):
    (task,) = room.context.tasks
    assert task.room == "every"
    other = another_process(room)
    running = asyncio.ensure_future(other.context.tasks[0].run())
    await room.set(0, {LIMITS: {"burst": 30}})
    await until(other.runtime, 1)
    assert other.runtime.live(declared_as(LIMITS))().burst == 30
    running.cancel()


async def test_a_task_of_every_process_runs_once_whatever_rooms_it_has(tmp_path: Path):
    async with open_shop(Settings(data=str(tmp_path))) as shop:
        for rooms in (("front",), ("back",), ("front", "back")):
            work = work_of(shop, rooms)
            assert [name for name, _ in work].count("settings") == 1
            for _, each in work:
                each.close()  # type: ignore[attr-defined]
