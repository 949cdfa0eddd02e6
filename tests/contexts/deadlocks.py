"""PostgreSQL ends a circle of waiting by itself, so that nobody sees it; but it counts."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

COUNTED = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
OURS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'doorbuster-%'"
)


async def deadlocks(url: str, *, after_all: bool = False) -> int:
    """How many there were in this database; none on SQLite, where one writes at a time.

    `after_all`: waits until every connection of ours has ended. A backend tells what it has counted when it ends.
    """
    if not url:
        return 0
    connection: Any = await asyncpg.connect(url)
    try:
        for _ in range(1000):
            if not after_all or not await connection.fetchval(OURS):
                return await connection.fetchval(COUNTED)
            await asyncio.sleep(0.01)
        raise AssertionError("connections stay open")
    finally:
        await connection.close()
