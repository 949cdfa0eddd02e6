"""Opens each kind of lock from words, for tests and for the processes they start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from doorbuster.platform.locks.advisory_lock import AdvisoryLocks
from doorbuster.platform.locks.holding import Holding
from doorbuster.platform.locks.redis_lock import RedisLocks
from doorbuster.platform.locks.redlock import Redlock
from doorbuster.platform.locks.row_lock import RowLocks
from doorbuster.platform.locks.tables import HISTORY
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

ENGINES = ["redis", "redis-cluster", "redlock", "advisory", "rows-sqlite", "rows-postgres"]
Opened = tuple[Holding, Callable[[], Awaitable[None]]]


async def opened(engine: str, places: str, prefix: str, lease_ms: int) -> Opened:
    """`places`: addresses of servers with commas between, or a folder. Returns the locks and how to close them."""
    if engine in ("redis", "redis-cluster"):
        return _on_redis([places], prefix, lease_ms)
    if engine == "redlock":
        return _on_redis(places.split(","), prefix, lease_ms)
    of = DatabaseSettings() if engine == "rows-sqlite" else DatabaseSettings(url=places)
    folder = Path(places) if engine == "rows-sqlite" else Path()
    database = (await open_databases(of, folder, ["locks"]))["locks"]
    await migrate(database, HISTORY, 0)
    if engine == "advisory":
        await database.close()
        advisory = await AdvisoryLocks.open(places, "locks", lease_ms)
        return advisory, advisory.close
    return RowLocks(database, lease_ms), database.close


def _on_redis(urls: list[str], prefix: str, lease_ms: int) -> Opened:
    servers = [Redis(url) for url in urls]

    async def close() -> None:
        for server in servers:
            await server.close()

    each = [RedisLocks(server, prefix, lease_ms) for server in servers]
    return (each[0] if len(each) == 1 else Redlock(each, lease_ms)), close
