"""A process that works on a shop's orders until a crash point kills it; its job is JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from contexts.orders.ordering_shop import MERCHANT, OrderingShop, build_shop
from doorbuster.contexts.orders.model import RefundAsked
from doorbuster.contracts.inventory import HoldLost
from doorbuster.contracts.orders import OrderDraft
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases


class Job(Struct, frozen=True):
    """`what` is place (the `draft`), refund (all of it, under the key "k") or lose (the hold of the draft's order)."""

    what: str
    folder: str
    database_url: str
    now_ms: int
    draft: OrderDraft


async def work(job: Job) -> None:
    clock = ManualClock(job.now_ms)
    platform = Platform(Settings(data=job.folder), clock, Snowflake(SystemClock(), worker=9), Wakeups())
    settings = DatabaseSettings(url=job.database_url)
    database = (await open_databases(settings, Path(job.folder), ["orders"]))["orders"]
    await _do(build_shop(platform, clock, database), job)


async def _do(shop: OrderingShop, job: Job) -> None:
    if job.what == "place":
        await shop.service.place_many([job.draft])
    elif job.what == "refund":
        await shop.service.refund(Principal(MERCHANT, "merchant"), job.draft.id, "k", whole(job.draft))
    else:
        await shop.deliver_as([99], HoldLost(job.draft.id, (9,)))


def whole(draft: OrderDraft) -> RefundAsked:
    goods = sum(line.unit_price.amount * line.quantity for line in draft.lines)
    return RefundAsked((), goods + draft.shipping.amount - draft.discount.amount, restock=False, reason="lost")


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
