"""Fresh stores to measure on: SQLite files on a disk, or databases of a PostgreSQL server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from msgspec import Struct

from doorbuster.lab.postgres_server import NoPostgres, PostgresServer
from doorbuster.platform.settings.tree import DatabaseSettings, Settings

Engine = Literal["sqlite", "postgres"]
ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")

T = TypeVar("T")

DISK = Path("/var/tmp")  # noqa: S108 - a folder of our own is made in it
"""Where files survive a restart. /tmp may be memory, where a flush costs nothing and proves nothing."""


class Skipped(Struct, frozen=True):
    """Why something was not measured."""

    skipped: str


class Stores:
    """What there is to measure on. `missing` says why there is no PostgreSQL."""

    def __init__(self, folder: Path, postgres: PostgresServer | None, missing: str = "") -> None:
        self.folder = folder
        self.postgres = postgres
        self.missing = missing

    @property
    def engines(self) -> tuple[Engine, ...]:
        return ENGINES if self.postgres is not None else ("sqlite",)

    @asynccontextmanager
    async def fresh(self, engine: Engine) -> AsyncGenerator[Settings]:
        """Settings with an empty store of that kind, deleted in the end."""
        with tempfile.TemporaryDirectory(dir=self.folder) as data:
            if engine == "sqlite":
                yield Settings(data=data)
                return
            assert self.postgres is not None, "asked for engines that are there"
            async with self.postgres.fresh_database() as url:
                yield Settings(data=data, database=DatabaseSettings(url=url))


@contextmanager
def open_stores(postgres_url: str | None) -> Generator[Stores]:
    """A folder on a disk, and the PostgreSQL at the address or one that is found on the machine, if any."""
    with tempfile.TemporaryDirectory(prefix="doorbuster-bench-", dir=DISK if DISK.is_dir() else None) as folder:
        try:
            # Beside, not within the folder: PostgreSQL runs as a user of its own.
            server = PostgresServer.start(postgres_url, Path(folder).parent)
        except NoPostgres as reason:
            yield Stores(Path(folder), None, str(reason))
            return
        try:
            yield Stores(Path(folder), server)
        finally:
            server.stop()


def run_on_stores(postgres_url: str | None, measure: Callable[[Stores], Coroutine[Any, Any, T]]) -> T:
    """Measures on `open_stores(postgres_url)`, on uvloop."""
    import uvloop

    with open_stores(postgres_url) as stores, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measure(stores))
