"""A process that follows the catalogue's changes, and dies on the way: run by test_copies."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.contexts.catalog.wiring import build
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, RedisSettings, Settings
from doorbuster.platform.sql.open import open_databases


class Job(Struct):
    folder: str
    database_url: str
    redis_url: str


async def main(job: Job) -> None:
    settings = Settings(
        data=job.folder, database=DatabaseSettings(url=job.database_url), redis=RedisSettings(job.redis_url)
    )
    database = (await open_databases(settings.database, Path(job.folder), ["catalog"]))["catalog"]
    platform = Platform(settings, SystemClock(), Snowflake(SystemClock(), worker=3), Wakeups())
    await build(platform, database).copies.follower.step()
    raise SystemExit("it did not crash")


if __name__ == "__main__":
    asyncio.run(main(msgspec.json.decode(sys.argv[1], type=Job)))
