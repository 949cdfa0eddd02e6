"""(d) Orders per second that the consumer of claims writes, from an outbox that is full when it begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from doorbuster.contexts.flash_sale.service import NAME as FLASH_SALE
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.wiring import HISTORY as FLASH_SALE_HISTORY
from doorbuster.contexts.orders.events import consumers
from doorbuster.contexts.orders.service import NAME as ORDERS
from doorbuster.contexts.orders.wiring import HISTORY as ORDERS_HISTORY
from doorbuster.contracts.flash_sale import ClaimRequest
from doorbuster.kernel.ids import Snowflake
from doorbuster.lab.bench.goods import OneSku, Plenty, open_sale, platform_of
from doorbuster.lab.bench.stores import ENGINES, Engine, Skipped, Stores
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

CLAIMS = 50_000
AT_ONCE = 1000
CONSUMER = "orders.claims"


class ConsumerFigures(Struct, frozen=True):
    """`cpu_us`: processor time of the consuming process per order."""

    orders_per_s: float
    cpu_us: float
    orders: int
    seconds: float


class ConsumerResult(Struct, frozen=True):
    figures: Mapping[Engine, ConsumerFigures | Skipped]
    breaches: Sequence[str]


async def measure_consumer(stores: Stores, claims: int, say: Callable[[str], None]) -> ConsumerResult:
    figures: dict[Engine, ConsumerFigures | Skipped] = {}
    broken: list[str] = []
    for engine in ENGINES:
        if engine not in stores.engines:
            figures[engine] = Skipped(stores.missing)
            continue
        async with stores.fresh(engine) as settings:
            done = await consume(settings, claims)
        figures[engine] = done
        if done.orders != claims:
            broken.append(f"consumer {engine}: {claims} claims, but {done.orders} orders")
        say(f"orders {engine:9}: {done.orders_per_s:7.0f}/s, {done.cpu_us:5.0f} µs per order")
    return ConsumerResult(figures, broken)


async def consume(settings: Settings, claims: int) -> ConsumerFigures:
    """Fills an outbox with so many claims, then measures a relay that carries them to the orders."""
    platform = platform_of(settings)
    databases = await open_databases(settings.database, settings.folder, [FLASH_SALE, ORDERS])
    try:
        await migrate(databases[FLASH_SALE], FLASH_SALE_HISTORY, platform.clock.now_ms())
        await migrate(databases[ORDERS], ORDERS_HISTORY, platform.clock.now_ms())
        await _fill_outbox(platform, databases[FLASH_SALE], claims)
        (consumer,) = (each for each in consumers(platform.clock) if each.name == CONSUMER)
        relay = Relay(databases[FLASH_SALE], databases[ORDERS], consumer, platform.wakeups, platform.clock)
        begun_s, begun_cpu_s = time.monotonic(), time.process_time()
        while await relay.step():
            pass
        seconds, cpu_s = time.monotonic() - begun_s, time.process_time() - begun_cpu_s
        orders = await databases[ORDERS].read(_count_orders)
    finally:
        for database in databases.values():
            await database.close()
    return ConsumerFigures(claims / seconds, cpu_s / claims * 1e6, orders, seconds)


async def _fill_outbox(platform: Platform, database: Database, claims: int) -> None:
    service = FlashSaleService(platform, database, OneSku(), Plenty())
    sale_id = await open_sale(service, "orders")
    customers = Snowflake(platform.clock, worker=0)
    for begin in range(0, claims, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, claims))
        outcomes = await service.claim_many(
            [ClaimRequest(sale_id, customers.next_owner(), f"{number:x}", 1) for number in numbers]
        )
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome
    await service.close()


def _count_orders(tx: Tx) -> int:
    ((orders,),) = tx.rows("SELECT count(*) FROM orders")
    return orders
