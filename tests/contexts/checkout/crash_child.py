"""A process that works on a shop's checkouts until a crash point kills it: `python crash_child.py <json>`."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
from msgspec import Struct

from contexts.checkout.placing_shop import build_shop
from doorbuster.contexts.checkout.model import PlaceRequest
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases


class Job(Struct, frozen=True):
    """`what` is place, sweep or hear (that the order `cart_id` was cancelled); the databases are there and migrated."""

    what: str
    folder: str
    database_url: str
    now_ms: int
    customer: Principal
    cart_id: int
    quote: str


async def work(job: Job) -> None:
    folder, clock = Path(job.folder), ManualClock(job.now_ms)
    platform = Platform(Settings(data=job.folder), SystemClock(), Snowflake(SystemClock(), worker=9), Wakeups())
    databases = await open_databases(DatabaseSettings(url=job.database_url), folder, ["checkout"])
    shop = build_shop(replace(platform, clock=clock), clock, databases["checkout"], folder)
    if job.what == "place":
        with contextlib.suppress(ShopError):
            await shop.service.place(job.customer, job.cart_id, "key", PlaceRequest(job.quote, ""))
    elif job.what == "hear":
        await shop.cancel(job.cart_id)
    else:
        await shop.built.saga.sweep()
    await shop.built.close()


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
