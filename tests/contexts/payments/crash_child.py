"""A process that works on a shop's payments until a crash point kills it: `python crash_child.py <json>`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from doorbuster.contexts.payments.wiring import build
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.ids import Snowflake
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.options import STRIPE_KEY_DEFAULT
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import PaymentsSettings, Settings
from doorbuster.platform.sql.sqlite import SqliteDatabase


class Job(Struct, frozen=True):
    """`what` is create, close or refund; the database is migrated already."""

    what: str
    database: str
    simulator_url: str
    secret: str
    order_id: int
    customer_id: int
    amount: Money
    key: str
    method: str | None = None
    stripe_url: str = ""


async def work(job: Job) -> None:
    settings = Settings(
        payments=PaymentsSettings(
            simulator_url=job.simulator_url,
            stripe_url=job.stripe_url,
            stripe_secret_key=STRIPE_KEY_DEFAULT,
            stripe_webhook_secrets=(job.secret,),
        )
    )
    clock = SystemClock()
    platform = Platform(settings, clock, Snowflake(clock, worker=9), Wakeups())
    payments = build(platform, SqliteDatabase("payments", Path(job.database)), [job.secret])
    if job.what == "create":
        await payments.service.create(job.order_id, job.customer_id, job.amount, job.key, job.method)
    elif job.what == "close":
        await payments.service.close_open([job.order_id])
    else:
        await payments.service.refunding.sweep()
    await payments.close()


if __name__ == "__main__":
    asyncio.run(work(msgspec.json.decode(sys.argv[1], type=Job)))
