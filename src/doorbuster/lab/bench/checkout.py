"""(g) A whole ordinary checkout over HTTP by a guest: cart, address and shipping, place, pay, settled.

A real `doorbuster serve` on PostgreSQL, a payment provider as a server of its own, and shoppers in a closed loop: each
fills a cart, says where it goes, orders at the price quoted and pays by a payment method's token, then the next one
comes. An order counts when its own page says that it is paid, not when somebody was answered.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

from msgspec import Struct

from doorbuster.lab.bench.machine import Durability, describe_durability, describe_machine
from doorbuster.lab.bench.meter import Meter, meter_of, spent_us
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.rush import RushFigures, rush
from doorbuster.lab.bench.settled import all_settled, statuses_of
from doorbuster.lab.bench.shopper import STEPS, Refused, Shopper, Step, Times, no_times
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table_of_checkout import checkout_table
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess, shop_process
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.postgres_server import NoPostgres
from doorbuster.lab.stampede import Pool
from doorbuster.platform.pools import at_most
from doorbuster.platform.settings.secrets import load_secrets

SHOPPERS = 64
SKUS = 20
STOCK = 10_000_000
_MIGRATE = (sys.executable, "-m", "doorbuster", "migrate")


class Size(Struct, frozen=True):
    """How much is measured: a window, orders that go through step by step, and a rush."""

    seconds: float = 10.0
    warm_up_s: float = 2.0
    stepped: int = 1_280
    rush_buyers: int = 300
    rush_units: int = 100


class CheckoutFigures(Struct, frozen=True):
    """`orders_per_s` counts orders that are paid; `cpu_us` is processor time per such order, by process; the shop's is
    door, back room and PostgreSQL. `step_cpu_us`: the same by step, from orders that went through in step: all fill
    their carts, then all say where it goes, and so on; `settled` is what is left to do when the last is answered."""

    orders_per_s: float
    orders: int
    failed: Mapping[str, int]
    step_p50_ms: Mapping[Step, float]
    checkout_p50_ms: float
    checkout_p99_ms: float
    cpu_us: Mapping[str, float]
    cpu_us_of_shop: float
    cpu_us_in_all: float
    step_cpu_us: Mapping[str, Mapping[str, float]]


class CheckoutReport(Measured, frozen=True, kw_only=True):
    """What `doorbuster bench checkout` found."""

    name: ClassVar[str] = "checkout"
    checkout: CheckoutFigures
    rush: RushFigures
    durability: Durability

    def table(self) -> str:
        return checkout_table(self.as_json())


class Window:
    """What a crowd did in a while."""

    def __init__(self) -> None:
        self.paid: list[Shopper] = []
        """Who was told that their payment was taken."""
        self.steps: Times = no_times()
        self.whole: list[float] = []
        self.failed: dict[str, int] = {}

    def fail(self, why: str) -> None:
        self.failed[why] = self.failed.get(why, 0) + 1


async def measure_checkout(stores: Stores, size: Size, command: str, say: Callable[[str], None]) -> CheckoutReport:
    """On PostgreSQL. Raises NoPostgres, ShopFailed, NotDurable."""
    if stores.postgres is None:
        raise NoPostgres(stores.missing)
    machine, durability = describe_machine(), await describe_durability(stores)
    async with _open_shop(stores) as (shop, meter), Pool(shop.base_url) as pool:
        skus = await _goods(shop, pool)
        await _shop_for(pool, skus, size.warm_up_s)
        before, begun_s = meter.read(), time.monotonic()
        window = await _shop_for(pool, skus, size.seconds)
        await all_settled(window.paid)
        took_s, after = time.monotonic() - begun_s, meter.read()
        paid = (await statuses_of(window.paid)).count("paid")
        by_step = await _step_by_step(pool, skus, size.stepped, meter)
        figures = _figures(window, paid, took_s, spent_us(before, after, paid), by_step)
        say(
            f"{figures.orders_per_s:.0f} checkouts/s, {figures.cpu_us_of_shop:.0f} µs of the shop's processor time each"
        )
        rushed = await rush(shop, pool, size.rush_buyers, size.rush_units)
        say(
            f"{rushed.buyers} buyers for {rushed.units} units: {rushed.settled} settled, {dict(rushed.refused)} refused"
        )
        broken = (
            [] if paid == len(window.paid) else [f"{len(window.paid)} were told they had paid, {paid} orders are paid"]
        )
        audit = await shop.command("audit")
        broken += [f"audit: {check['name']}: {check['detail']}" for check in audit["checks"] if not check["ok"]]
    return CheckoutReport(
        machine=machine,
        command=command,
        breaches=broken + rushed.breaches(),
        checkout=figures,
        rush=rushed,
        durability=durability,
    )


@asynccontextmanager
async def _open_shop(stores: Stores) -> AsyncGenerator[tuple[ShopProcess, Meter]]:
    async with stores.fresh("postgres") as settings, AsyncExitStack() as stack:
        environment = {"DOORBUSTER_DATABASE_URL": settings.database.url, "DOORBUSTER_PROCESS_LOG_LEVEL": "warning"}
        await _migrate(settings.folder, environment)
        simulator = stack.enter_context(
            SimulatorProcess(
                settings.folder / "provider.sqlite",
                secrets=load_secrets(settings).webhook_secrets,
                arguments=("--webhooks", "off"),
            )
        )
        log = settings.folder / "serve.log"
        serving = shop_process(settings.folder, simulator.base_url, log, environment=environment)
        shop = await stack.enter_async_context(serving)
        assert simulator.pid is not None, "just started"
        yield shop, await meter_of(shop.process.pid, simulator.pid, settings.database.url)


async def _migrate(folder: Path, environment: Mapping[str, str]) -> None:
    migrating = await asyncio.create_subprocess_exec(
        *_MIGRATE, "--data", str(folder), env={**os.environ, **environment}, stdout=asyncio.subprocess.DEVNULL
    )
    if await migrating.wait():
        raise ShopFailed("doorbuster migrate failed")


async def _goods(shop: ShopProcess, pool: Pool) -> list[str]:
    """The ids of some SKUs, well in stock."""
    await shop.command("import", "--sample", "--stock", str(STOCK))
    products = (await pool.request("GET", f"/v1/products?limit={SKUS}")).json(dict[str, Any])["items"]
    return [product["skus"][0]["id"] for product in products]


async def _shop_for(pool: Pool, skus: Sequence[str], seconds: float) -> Window:
    window = Window()
    until_s = time.monotonic() + seconds

    async def come_and_go(number: int) -> None:
        while time.monotonic() < until_s:
            begun_s = time.monotonic()
            shopper = Shopper(pool, skus[number % len(skus)], window.steps)
            try:
                await shopper.check_out()
            except Refused as refused:
                window.fail(str(refused))
                continue
            window.paid.append(shopper)
            window.whole.append(time.monotonic() - begun_s)

    await asyncio.gather(*(come_and_go(number) for number in range(SHOPPERS)))
    return window


async def _step_by_step(pool: Pool, skus: Sequence[str], orders: int, meter: Meter) -> dict[str, dict[str, float]]:
    """Processor time per order of each step by process, where everybody takes the same step at a time.

    Raises Refused: nobody is refused where there is enough for all.
    """
    crowd = [Shopper(pool, skus[number % len(skus)], no_times()) for number in range(orders)]
    spent: dict[str, dict[str, float]] = {}
    before = meter.read()
    for step in STEPS:
        await at_most(SHOPPERS, crowd, partial(Shopper.take, step=step))
        after = meter.read()
        spent[step], before = spent_us(before, after, orders), after
    await all_settled(crowd)
    spent["settled"] = spent_us(before, meter.read(), orders)
    return spent


def _figures(
    window: Window, paid: int, took_s: float, cpu_us: Mapping[str, float], by_step: Mapping[str, Mapping[str, float]]
) -> CheckoutFigures:
    ordered = sorted(window.whole) or [0.0]
    return CheckoutFigures(
        orders_per_s=paid / took_s,
        orders=paid,
        failed=window.failed,
        step_p50_ms={step: median(times) * 1000 for step, times in window.steps.items() if times},
        checkout_p50_ms=ordered[len(ordered) // 2] * 1000,
        checkout_p99_ms=ordered[int(len(ordered) * 0.99)] * 1000,
        cpu_us=cpu_us,
        cpu_us_of_shop=cpu_us["door"] + cpu_us["back_room"] + cpu_us["postgres"],
        cpu_us_in_all=sum(cpu_us.values()),
        step_cpu_us=by_step,
    )
