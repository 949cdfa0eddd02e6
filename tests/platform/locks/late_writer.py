"""A process that takes a lock and writes when told to: `late_writer.py ENGINE PLACES PREFIX LEASE_MS FILE`.

It prints its token, waits for a line, writes to the row in FILE under its token, and prints how many rows that changed
and whether it was still sure of its lock.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from locks_opening import opened

WRITE = "UPDATE shelf SET units = ?, fence = ? WHERE fence <= ?"


def write(file: str, units: int, token: int) -> int:
    """Rows changed: 0 if somebody with a higher token was here."""
    with sqlite3.connect(file) as connection:
        return connection.execute(WRITE, (units, token, token)).rowcount


async def main(engine: str, places: str, prefix: str, lease_ms: str, file: str) -> None:
    locks, close = await opened(engine, places, prefix, int(lease_ms))
    async with locks.keeping("shelf") as lock:
        print(lock.token, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(write(file, 1, lock.token), lock.sure(), flush=True)
    await close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
