"""A process that moves stock until a crash point kills it; its job is JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from contexts.inventory.conftest import Shop
from doorbuster.contexts.inventory.wiring import build
from doorbuster.contracts.orders import GoodsReturned, OrderCancelled, OrderPaid
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.consumer import handle_once
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases

Happened = OrderPaid | GoodsReturned | OrderCancelled


class Job(Struct, frozen=True):
    """`what` is expire, release or settle (then `events` are handled, numbered from 1)."""

    what: str
    folder: str
    database_url: str
    now_ms: int
    order_id: int
    events: tuple[Happened, ...] = ()


async def work(job: Job) -> None:
    platform = Platform(
        Settings(data=job.folder), ManualClock(job.now_ms), Snowflake(SystemClock(), worker=9), Wakeups()
    )
    settings = DatabaseSettings(url=job.database_url)
    database = (await open_databases(settings, Path(job.folder), ["inventory"]))["inventory"]
    inventory = build(platform, database, Shop())
    if job.what == "expire":
        await inventory.expiry.sweep()
    elif job.what == "release":
        await inventory.service.release_many([job.order_id])
    else:
        consumer = inventory.context.consumers[0]
        envelopes = [Envelope("orders", n, job.now_ms, event) for n, event in enumerate(job.events, start=1)]
        await database.write(lambda tx: handle_once(tx, consumer, envelopes))


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
