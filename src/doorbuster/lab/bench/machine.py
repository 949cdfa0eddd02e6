"""Where it was measured, and what a commit meant there."""

from __future__ import annotations

import os
import platform
import sqlite3
import ssl
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

from msgspec import Struct

from doorbuster.lab.bench.stores import Stores
from doorbuster.platform.sql.open import open_databases

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "litestar", "sqlalchemy", "asyncpg")
FLUSHES = 200
SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
POSTGRES_SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")


class Machine(Struct, frozen=True):
    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    versions: dict[str, str]
    load_before: float
    """The system's load average when the bench began: whatever is above zero was not ours."""


class Durability(Struct, frozen=True):
    """The stores' own words for what a commit is, and the cost of flushing a page where their files are."""

    sqlite: str
    postgres: str
    flush_us: float


def describe_machine() -> Machine:
    versions = {name: version(name) for name in PACKAGES}
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 0,
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={**versions, "sqlite": sqlite3.sqlite_version, "openssl": ssl.OPENSSL_VERSION.split()[1]},
        load_before=round(os.getloadavg()[0], 2),
    )


def _cpu() -> str:
    """Linux tells the model in /proc/cpuinfo; elsewhere only the architecture is known without a tool."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


async def describe_durability(stores: Stores) -> Durability:
    """Raises NotDurable: a PostgreSQL that may lose commits is not measured."""
    return Durability(await _sqlite(stores), await _postgres(stores), round(_flush_us(stores.folder), 1))


async def _sqlite(stores: Stores) -> str:
    async with stores.fresh("sqlite") as settings:
        database = (await open_databases(settings.database, settings.folder, ["probe"]))["probe"]
        try:
            ((mode,),) = await database.write(lambda tx: tx.rows("PRAGMA journal_mode"))
            ((synchronous,),) = await database.write(lambda tx: tx.rows("PRAGMA synchronous"))
        finally:
            await database.close()
    return f"journal_mode={mode}, synchronous={SYNCHRONOUS[synchronous]}"


async def _postgres(stores: Stores) -> str:
    if stores.postgres is None:
        return f"not measured: {stores.missing}"
    async with stores.fresh("postgres") as settings:
        database = (await open_databases(settings.database, settings.folder, ["probe"]))["probe"]
        try:
            shown = await database.read(lambda tx: [tx.rows(f"SHOW {name}")[0][0] for name in POSTGRES_SETTINGS])
        finally:
            await database.close()
    values = [f"{name}={value}" for name, value in zip(POSTGRES_SETTINGS, shown, strict=True)]
    return ", ".join(values)


def _flush_us(folder: Path) -> float:
    """The median time of writing and flushing one page."""
    times: list[float] = []
    with (folder / "flush").open("wb", buffering=0) as file:
        for _ in range(FLUSHES):
            begun_s = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begun_s)
    return median(times) * 1e6
