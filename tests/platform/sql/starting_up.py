"""A process of its own that starts like a server does: `python starting_up.py URL FOLDER`.

It says "ready", waits for a line on standard input, then migrates and takes a worker number as fast as it can, and
tells which migrations it applied, its number and a few ids. It ends like a killed one: nothing is given back.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import alembic.migration
import alembic.operations
import asyncpg

from doorbuster.kernel.clock import SystemClock
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases
from doorbuster.platform.sql.workers import HISTORY, WorkerLease

assert alembic.migration and alembic.operations and asyncpg, "imported here, so that they do not delay the race"
url, folder = sys.argv[1:]


async def start() -> None:
    clock = SystemClock()
    (database,) = (await open_databases(DatabaseSettings(url=url), Path(folder), ["workers"])).values()
    applied = await migrate(database, HISTORY, clock.now_ms())
    lease = await WorkerLease.take(database, clock)
    ids = [lease.ids.next() for _ in range(100)]
    print(json.dumps({"applied": applied, "number": lease.number, "ids": ids}), flush=True)
    os._exit(0)


print("ready", flush=True)
sys.stdin.readline()
asyncio.run(start())
