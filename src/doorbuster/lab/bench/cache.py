"""How many reads of products the cache keeps from the database, next to the same reads without it.

Popularity by Zipf's law (s = 1): the product of rank r is asked for 1/r as often as the first. One request in a hundred
is a write, of a product drawn in the same way: the popular ones change most, which is the hard case. Reader and writer
are two processes of the shop in one: each with its own local tier and its own follower; the writer's changes reach the
reader by the outbox only.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import itertools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct, structs

from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.model import ProductChange
from doorbuster.contexts.catalog.wiring import HISTORY, CatalogContext, build
from doorbuster.contracts.catalog import Bilingual, Product, Sku
from doorbuster.kernel.money import Money
from doorbuster.lab.bench.goods import MERCHANT, platform_of
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.stores import Engine, Stores
from doorbuster.lab.bench.strategies import FoundRedis
from doorbuster.lab.bench.table import circumstances
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.cache.port import CacheStats
from doorbuster.platform.cache.settings import PRODUCTS
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.tree import RedisSettings
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

WRITE_SHARE = 0.01
AT_ONCE = 32
INSERT_PAGE = 1000


class CacheFigures(Struct, frozen=True):
    """Of the counted requests. `hits`: reads that some tier answered, or that shared a load under way. `db_reads`: of
    products; `looks`: of the outbox, the price of hearing of changes. `stale`: reads older than declared."""

    reads: int
    writes: int
    hits: int
    db_reads: int
    looks: int
    stale: int
    seconds: float


class CacheReport(Measured, frozen=True, kw_only=True):
    """What `doorbuster bench cache` found. `cold` is the same from empty tiers."""

    name: ClassVar[str] = "cache"
    tiers: str
    products: int
    local_entries: int
    hit_ratio: float
    db_reads_saved: float
    cold_hit_ratio: float
    cold_db_reads_saved: float
    cold: CacheFigures
    warm: CacheFigures
    without: CacheFigures

    def table(self) -> str:
        found = self.as_json()
        lines = [
            f"{self.products} products, Zipf s = 1, {WRITE_SHARE:.0%} writes; {self.tiers}, "
            f"{self.local_entries} entries in the process",
            f"  {'':24} {'reads':>9} {'hits':>9} {'db reads':>9} {'looks':>7} {'older':>6} {'s':>7}",
        ]
        for name in ("cold", "warm", "without"):
            of = found[name]
            counted = f"{of['reads']:9} {of['hits']:9} {of['db_reads']:9} {of['looks']:7} {of['stale']:6}"
            lines.append(f"  {name:24} {counted} {of['seconds']:7.1f}")
        lines += [
            f"  warm: {self.hit_ratio:.2%} hits, {self.db_reads_saved:.2%} fewer reads of the database, looks included",
            f"  cold: {self.cold_hit_ratio:.2%} hits, {self.cold_db_reads_saved:.2%} fewer",
            "  warm: every product was read once before counting began",
            "",
        ]
        return "\n".join([*lines, *circumstances(found)])


async def measure_cache(
    stores: Stores, redis: FoundRedis, products: int, requests: int, seed: int, command: str, say: Callable[[str], None]
) -> CacheReport:
    """`requests` are drawn once; the same ones run from empty tiers, with warm ones, and without a cache."""
    machine, engine = describe_machine(), _engine(stores)
    async with stores.fresh(engine) as of_store:
        settings = structs.replace(of_store, redis=RedisSettings(redis.url))
        databases = [(await open_databases(settings.database, settings.folder, ["catalog"]))["catalog"] for _ in "rw"]
        platforms = [_in_process(platform_of(settings)) for _ in databases]
        await migrate(databases[0], HISTORY, platforms[0].clock.now_ms())
        ids = await _stock(platforms[0], databases[0], products)
        say(f"{products} products are there")
        reader, writer = (build(of, database) for of, database in zip(platforms, databases, strict=True))
        if not redis.url:  # one tier must hold them all
            platforms[0].runtime.apply(_room_for(products))
        run = _Run(reader, writer, draw(ids, requests, seed))
        try:
            cold = await run.counted()
            say(f"cold: {cold.hits / cold.reads:.2%} hits")
            await run.read_all(ids)
            warm = await run.counted()
            say(f"warm: {warm.hits / warm.reads:.2%} hits")
            platforms[0].runtime.apply(_switched_off())
            without = await run.counted()
            say(f"without: {without.db_reads} reads of the database")
        finally:
            for shop, database in zip((reader, writer), databases, strict=True):
                await shop.close()
                await database.close()
    stale = sum(of.stale for of in (cold, warm, without))
    return CacheReport(
        machine=machine,
        command=command,
        breaches=[f"{stale} reads were older than declared"] if stale else [],
        tiers=f"{'local and Redis' if redis.url else f'local only ({redis.missing})'}, {engine}",
        products=products,
        local_entries=PRODUCTS.default.local_entries if redis.url else 2 * products,
        hit_ratio=warm.hits / warm.reads,
        db_reads_saved=_saved(warm, without),
        cold_hit_ratio=cold.hits / cold.reads,
        cold_db_reads_saved=_saved(cold, without),
        cold=cold,
        warm=warm,
        without=without,
    )


def _engine(stores: Stores) -> Engine:
    return "postgres" if "postgres" in stores.engines else "sqlite"


def _saved(with_cache: CacheFigures, without: CacheFigures) -> float:
    """Looks at the outbox are reads too."""
    return 1 - (with_cache.db_reads + with_cache.looks) / without.db_reads


def draw(ids: Sequence[int], requests: int, seed: int) -> list[tuple[int, bool]]:
    """(product, whether it is written), by Zipf's law with s = 1 over a random order of the products."""
    chance = random.Random(seed)
    ranked = list(ids)
    chance.shuffle(ranked)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(ranked) + 1)))
    return [
        (ranked[bisect.bisect_left(weights, chance.random() * weights[-1])], chance.random() < WRITE_SHARE)
        for _ in range(requests)
    ]


class _Run:
    """The same requests, as often as wanted."""

    def __init__(self, reader: CatalogContext, writer: CatalogContext, requests: Sequence[tuple[int, bool]]) -> None:
        self._reader, self._writer, self._requests = reader, writer, requests
        self._acknowledged: dict[int, list[tuple[float, int]]] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._stale = self._writes = 0

    async def counted(self) -> CacheFigures:
        stats, begun_s = self._reader.copies.products.stats, time.monotonic()
        before, looks = structs.replace(stats), self._reader.copies.follower.looks
        stale, writes = self._stale, self._writes
        await self._following(self._ask_all)
        db_reads = stats.loads + stats.bypassed - before.loads - before.bypassed
        hits = _answered(stats) - _answered(before)
        return CacheFigures(
            reads=hits + db_reads,
            writes=self._writes - writes,
            hits=hits,
            db_reads=db_reads,
            looks=self._reader.copies.follower.looks - looks,
            stale=self._stale - stale,
            seconds=time.monotonic() - begun_s,
        )

    async def read_all(self, ids: Sequence[int]) -> None:
        async def read_each() -> None:
            left = iter(ids)
            await self._together(left, self._read)

        await self._following(read_each)

    async def _following(self, work: Callable[[], Any]) -> None:
        """With both followers running, as in two processes."""
        shops = (self._reader, self._writer)
        for shop in shops:
            await shop.copies.follower.step()
        followers = [asyncio.create_task(shop.copies.follower.run()) for shop in shops]
        try:
            await work()
        finally:
            for follower in followers:
                follower.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await follower

    async def _ask_all(self) -> None:
        left = iter(self._requests)

        async def ask(request: tuple[int, bool]) -> None:
            product_id, written = request
            await (self._write(product_id) if written else self._read(product_id))

        await self._together(left, ask)

    async def _together(self, left: Any, work: Callable[[Any], Any]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(self._each(left, work))

    @staticmethod
    async def _each(left: Any, work: Callable[[Any], Any]) -> None:
        for number, each in enumerate(left):
            await work(each)
            if number % 16 == 0:
                await asyncio.sleep(0)  # hits never wait: followers and others have their turn too

    async def _read(self, product_id: int) -> None:
        begun_s = time.monotonic()
        product = await self._reader.service.product(None, product_id)
        due_s = begun_s - PRODUCTS.default.stale_ms / 1000
        due = max((version for at_s, version in self._acknowledged.get(product_id, ()) if at_s <= due_s), default=1)
        self._stale += product.version < due

    async def _write(self, product_id: int) -> None:
        async with self._locks.setdefault(product_id, asyncio.Lock()):
            known = self._acknowledged.setdefault(product_id, [])
            version = known[-1][1] if known else 1
            change = ProductChange(version, title=Bilingual(f"Product {product_id}, changed {version} times"))
            changed = await self._writer.service.change(MERCHANT, product_id, change)
            known.append((time.monotonic(), changed.version))
            self._writes += 1


def _answered(stats: CacheStats) -> int:
    return stats.local_hits + stats.redis_hits + stats.joined


def _in_process(platform: Platform) -> Platform:
    """With wake-ups of its own: the other one's reach it by the outbox, as from another machine."""
    return Platform(platform.settings, platform.clock, platform.ids, Wakeups())


def _room_for(products: int) -> Snapshot:
    return _set(1, local_entries=2 * products)


def _switched_off() -> Snapshot:
    return _set(2, enabled=False)


def _set(version: int, **fields: object) -> Snapshot:
    return Snapshot(version, {PRODUCTS.name: msgspec.json.encode({"value": fields})})


async def _stock(platform: Platform, database: Database, products: int) -> list[int]:
    """That many products with one SKU each; their ids."""
    merchant_id, now_ms = MERCHANT.account_id, platform.clock.now_ms()

    def new(number: int) -> Product:
        sku = Sku(platform.ids.next(merchant_id), f"SKU-{number}", "", Money(1990, "CNY"), active=True)
        return Product(
            id=platform.ids.next(merchant_id),
            merchant_id=merchant_id,
            title=Bilingual(f"Product {number}", f"商品 {number}"),
            description=Bilingual("What it is and what it is good for. " * 4 + "It is blue."),
            category=f"category-{number % 50}",
            brand="",
            media=(),
            status="active",
            version=1,
            created_ms=now_ms,
            updated_ms=now_ms,
            skus=(sku,),
        )

    ids: list[int] = []
    for begin in range(0, products, INSERT_PAGE):
        page = [new(number) for number in range(begin, min(products, begin + INSERT_PAGE))]
        await database.write(lambda tx, page=page: (store.insert_products(tx, page), store.insert_skus(tx, page, {})))
        ids += [product.id for product in page]
    return ids
