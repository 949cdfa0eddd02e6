"""A process that serves support on a database that others serve too. Reads a Plan from standard input, prints its port,
and ends when standard input does."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.contexts.support import wiring
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases
from live_server import live_server


class Plan(Struct):
    database: DatabaseSettings
    folder: str
    key: str
    worker: int


async def serve(plan: Plan) -> None:
    clock = SystemClock()
    database = (await open_databases(plan.database, Path(plan.folder), ["support"]))["support"]
    platform = Platform(Settings(data=plan.folder), clock, Snowflake(clock, plan.worker), Wakeups())
    built = wiring.build(platform, database)
    async with live_server([built.context.faces()], ring=KeyRing([Key.parse(plan.key)], clock)) as server:
        print(server.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    await database.close()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(msgspec.json.decode(sys.stdin.buffer.readline(), type=Plan)))
