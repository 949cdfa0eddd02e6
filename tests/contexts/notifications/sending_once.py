"""Run as a child process: addresses and sends what is there, dying where the environment says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from contexts.notifications.notifying_shop import build_shop
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.sqlite import SqliteDatabase


async def main(file: Path, port: int, now_ms: int) -> None:
    clock = ManualClock(now_ms)
    platform = Platform(Settings(data=str(file.parent)), clock, Snowflake(SystemClock(), worker=2), Wakeups())
    database = SqliteDatabase("notifications", file)
    shop = build_shop(platform, clock, database, {"smtp_port": port})
    await shop.send("email")
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
