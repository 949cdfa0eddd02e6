"""A process that lets people in until it is killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from contexts.waiting_room.conftest import OneSku, Warehouse
from doorbuster.contexts.flash_sale import wiring as flash_sale
from doorbuster.contexts.waiting_room import wiring
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases
from settings_groups import stored


class Job(msgspec.Struct):
    folder: str
    url: str | None
    now_ms: int
    per_s: float


async def run(job: Job) -> None:
    names = ["flash_sale", "waiting_room"]
    databases = await open_databases(DatabaseSettings(url=job.url), Path(job.folder), names)
    clock = ManualClock(job.now_ms)
    platform = Platform(Settings(data=job.folder), clock, Snowflake(SystemClock(), worker=3), Wakeups())
    platform.runtime.apply(stored(1, {"waiting_room": {"per_s": job.per_s}}))
    keys = AdmissionKeys([Key("k1", b"x" * 32)])
    sale = flash_sale.build(platform, databases["flash_sale"], OneSku(), Warehouse(), admissions=keys)
    releaser = wiring.build(platform, databases["waiting_room"], sale.service, keys).releaser
    for _ in range(100):
        clock.advance(1_000)
        await releaser.tick()


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Job)))
