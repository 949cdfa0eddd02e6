"""An inventory as the shop wires it, with one of the five strategies, and the clients that want its stock."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from random import Random
from typing import Literal

import sqlalchemy as sa
from msgspec import Struct
from msgspec.structs import replace

from doorbuster.contexts.inventory.service import NAME
from doorbuster.contexts.inventory.tables import hold_lines, holds, ledger
from doorbuster.contexts.inventory.wiring import HISTORY, InventoryContext, build
from doorbuster.contracts.catalog import SkuFacts
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, SkuUnits, Strategy
from doorbuster.kernel.errors import Overloaded
from doorbuster.lab.bench.goods import MERCHANT, SKU, platform_of
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import InventorySettings, RedisSettings, Settings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

Load = Literal["hot", "spread"]
LOADS: tuple[Load, ...] = ("hot", "spread")
CLIENTS = 16
SPREAD_SKUS = 1_000
HOT_UNITS, SPREAD_UNITS = 100_000_000, 1_000_000
HELD_FOR_MS = 24 * 3_600_000
BACK_ROOM = "back"


class AnySku:
    """The neighbour as the contract shows it: a catalogue in which every SKU is the one merchant's."""

    async def sku(self, sku_id: int) -> SkuFacts:
        return replace(SKU, sku_id=sku_id)


class Sold(Struct, frozen=True):
    """What one window came to. `cpu_s` is processor time of this process: the shop's side and its clients."""

    seconds: float
    cpu_s: float
    latencies_s: list[float]
    """Of the holds that were made, ascending."""


class Rows(Struct, frozen=True):
    """What the tables say of some SKUs: units that came in and were not written off, units promised, and holds."""

    units: int
    promised: int
    holds: int
    oversold: int
    """Units promised beyond what there was, summed over SKUs."""


class Stockroom:
    """`answers` counts what clients were told, by load and kind of outcome."""

    def __init__(
        self, inventory: InventoryContext, platform: Platform, database: Database, skus: Sequence[int]
    ) -> None:
        self.inventory = inventory
        self.answers: dict[Load, Counter[str]] = {load: Counter() for load in LOADS}
        self._platform, self._database = platform, database
        self._skus: dict[Load, Sequence[int]] = {"hot": skus[:1], "spread": skus[1:]}
        self._chance = Random(1)

    async def stock_up(self) -> None:
        for load, units in zip(LOADS, (HOT_UNITS, SPREAD_UNITS), strict=True):
            lines = [SkuUnits(sku_id, units) for sku_id in self._skus[load]]
            await self.inventory.service.receive_many(MERCHANT.account_id, load, lines)
        await self._tell_redis()

    async def leave(self, units: int) -> None:
        """Writes off all of the hot SKU but so many units."""
        (sku_id,) = self._skus["hot"]
        available = (await self.inventory.service.available([sku_id]))[sku_id]
        await self.inventory.service.write_off(MERCHANT, "leave", [SkuUnits(sku_id, available - units)])
        await self._tell_redis()

    async def _tell_redis(self) -> None:
        if self.inventory.scripted is not None:
            await self.inventory.scripted.reconcile()

    async def sell_for(self, load: Load, seconds: float) -> Sold:
        """CLIENTS clients in a closed loop, each for one unit at a time; counted until the last one is answered."""
        begun_s, cpu_s = time.monotonic(), time.process_time()
        latencies_s = await self._sell(load, iter(lambda: time.monotonic() - begun_s < seconds, False))
        return Sold(time.monotonic() - begun_s, time.process_time() - cpu_s, sorted(latencies_s))

    async def sell_to(self, load: Load, buyers: int) -> None:
        await self._sell(load, islice(iter(bool, True), buyers))

    async def _sell(self, load: Load, turns: Iterator[object]) -> list[float]:
        latencies_s: list[float] = []
        tasks = [task for task in self.inventory.context.tasks if task.room == BACK_ROOM]
        background = [asyncio.ensure_future(task.run()) for task in tasks]
        try:
            await asyncio.gather(*(self._buy(load, turns, latencies_s) for _ in range(CLIENTS)))
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        return latencies_s

    async def _buy(self, load: Load, turns: Iterator[object], latencies_s: list[float]) -> None:
        """One client. Raises what is neither a hold nor a refusal that a shopper may get."""
        skus, answers, service = self._skus[load], self.answers[load], self.inventory.service
        for _ in turns:
            units = SkuUnits(self._chance.choice(skus), 1)
            until_ms = self._platform.clock.now_ms() + HELD_FOR_MS
            begun_s = time.monotonic()
            (outcome,) = await service.hold_many([HoldRequest(self._platform.ids.next(), (units,), until_ms)])
            if isinstance(outcome, Hold):
                latencies_s.append(time.monotonic() - begun_s)
            elif not isinstance(outcome, (OutOfStock, Overloaded)):
                raise outcome
            answers[type(outcome).__name__] += 1

    async def rows(self, load: Load) -> Rows:
        return await self._database.read(lambda tx: _count(tx, self._skus[load]))

    async def broken_checks(self) -> list[str]:
        """What the inventory finds wrong with its own books: balances are what the ledger adds up to, and so on."""
        return [f"{check.name}: {check.breaches}" for check in await self.inventory.service.audit() if not check.ok]


def _count(tx: Tx, skus: Sequence[int]) -> Rows:
    units, promised, count = dict.fromkeys(skus, 0), dict.fromkeys(skus, 0), 0
    sign = sa.case((ledger.c.kind == "receive", 1), (ledger.c.kind == "write_off", -1), else_=0)
    came_in = sa.select(ledger.c.sku_id, sa.func.sum(sign * ledger.c.quantity).label("units"))
    for row in tx.execute(came_in.where(ledger.c.sku_id.in_(skus)).group_by(ledger.c.sku_id)):
        units[row.sku_id] = int(row.units)
    lines = (
        sa.select(hold_lines.c.sku_id, sa.func.sum(hold_lines.c.quantity).label("units"), sa.func.count().label("rows"))
        .join(holds, holds.c.order_id == hold_lines.c.order_id)
        .where(hold_lines.c.sku_id.in_(skus), holds.c.status != "released")
    )
    for row in tx.execute(lines.group_by(hold_lines.c.sku_id)):
        promised[row.sku_id] = int(row.units)
        count += int(row.rows)
    beyond = sum(max(0, promised[sku_id] - units[sku_id]) for sku_id in skus)
    return Rows(sum(units.values()), sum(promised.values()), count, beyond)


@asynccontextmanager
async def open_stockroom(strategy: Strategy, settings: Settings, redis_url: str) -> AsyncGenerator[Stockroom]:
    """On an empty store. Every strategy has the same pool: a connection for each client."""
    settings = replace(
        settings,
        database=replace(settings.database, pool_size=CLIENTS),
        redis=RedisSettings(redis_url),
        inventory=InventorySettings(strategy=strategy),
    )
    database = (await open_databases(settings.database, settings.folder, [NAME]))[NAME]
    try:
        platform = platform_of(settings)
        await migrate(database, HISTORY, platform.clock.now_ms())
        inventory = build(platform, database, AnySku())
        try:
            skus = [platform.ids.next() for _ in range(1 + SPREAD_SKUS)]
            stockroom = Stockroom(inventory, platform, database, skus)
            await stockroom.stock_up()
            yield stockroom
        finally:
            await inventory.close()
    finally:
        await database.close()
