"""(e) What a shop costs that nobody visits: time from exec to ready, and the memory of its processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from doorbuster.lab.bench.processes import rss_mb_of_family
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.demo.shop_process import shop_process
from doorbuster.lab.stampede import Pool

SETTLE_S = 3.0
"""The back room is started beside the door; by then it has done what there is to do."""
PROCESS_NAMES = ("door", "back_room")


class StartFigures(Struct, frozen=True):
    """`ready_s`: exec to a good answer of /readyz on a migrated folder; `first_s` the same with all migrations."""

    ready_s: float
    first_s: float
    rss_mb: Mapping[str, float]
    rss_mb_in_all: float


async def measure_start(stores: Stores, say: Callable[[str], None]) -> StartFigures:
    """Starts `doorbuster serve` twice on one folder of embedded stores."""
    async with stores.fresh("sqlite") as settings:
        log = settings.folder / "serve.log"
        first_s, _ = await _start(settings.folder, log, settle_s=0)
        ready_s, rss_mb = await _start(settings.folder, log, SETTLE_S)
    figures = StartFigures(ready_s, first_s, rss_mb, sum(rss_mb.values()))
    say(f"start {figures.ready_s:.2f} s to ready, {figures.rss_mb_in_all:.0f} MB idle")
    return figures


async def _start(folder: Path, log: Path, settle_s: float) -> tuple[float, dict[str, float]]:
    begun_s = time.monotonic()
    async with shop_process(folder, "", log) as shop:
        async with Pool(shop.base_url) as pool:
            while (await pool.request("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.01)
        ready_s = time.monotonic() - begun_s
        await asyncio.sleep(settle_s)
        return ready_s, dict(zip(PROCESS_NAMES, rss_mb_of_family(shop.process.pid), strict=False))
