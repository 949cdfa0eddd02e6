"""A process that moves units between warehouse and sale until a crash point kills it; its job is JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from contexts.flash_sale.two_sides import TwoSides, two_sides
from doorbuster.contracts.flash_sale import SaleProposal
from doorbuster.kernel.clock import ManualClock, SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings, Settings
from doorbuster.platform.sql.open import open_databases


class Job(Struct, frozen=True):
    """`what` is create, carry_on, give_back or take_over; the databases are there and migrated."""

    what: str
    folder: str
    database_url: str
    now_ms: int
    proposal: SaleProposal


async def work(job: Job) -> None:
    clock = ManualClock(job.now_ms)
    platform = Platform(Settings(data=job.folder), clock, Snowflake(SystemClock(), worker=9), Wakeups())
    settings = DatabaseSettings(url=job.database_url)
    databases = await open_databases(settings, Path(job.folder), ["flash_sale", "inventory"])
    sides = two_sides(platform, databases["flash_sale"], databases["inventory"])
    await _do(sides, job)


async def _do(sides: TwoSides, job: Job) -> None:
    if job.what == "create":
        await sides.create(job.proposal)
    elif job.what == "carry_on":
        await sides.sale.service.allotting.carry_on()
    elif job.what == "give_back":
        await sides.sale.service.allotting.give_back()
    else:
        await sides.take_over()


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
