"""The catalogue's copies: what is read is never older than declared, whoever wrote it and whoever died."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec import structs

from conftest import OpenDatabase
from contexts.catalog.copies_child import Job
from contexts.catalog.goods import MERCHANT, RIVAL, draft, sku
from contexts.crashing import die
from doorbuster.contexts.catalog import copies as copies_of
from doorbuster.contexts.catalog import store
from doorbuster.contexts.catalog.model import ProductChange, SkuChange
from doorbuster.contexts.catalog.wiring import CatalogContext, build
from doorbuster.contracts.catalog import Bilingual, Product, ProductNotFound
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.tables import positions
from doorbuster.platform.cache.settings import PRODUCTS
from doorbuster.platform.context import Platform
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.tree import DatabaseSettings, RedisSettings
from doorbuster.platform.sql.database import Database
from redis_server import RedisServer, start_redis

MIGRATIONS = "doorbuster.contexts.catalog.migrations"
OpenProcess = Callable[[], Awaitable[CatalogContext]]


@pytest.fixture
def own_redis():
    server = start_redis(own=True)
    yield server
    server.stop()


@pytest.fixture(params=["local", "redis"])
def of_processes(request: pytest.FixtureRequest, platform: Platform) -> Platform:
    """Without Redis, and with one of their own."""
    if request.param == "local":
        return platform
    url = request.getfixturevalue("own_redis").url
    return Platform(
        structs.replace(platform.settings, redis=RedisSettings(url)), platform.clock, platform.ids, platform.wakeups
    )


@pytest.fixture
async def open_process(of_processes: Platform, open_database: OpenDatabase) -> AsyncIterator[OpenProcess]:
    """A catalogue as another process has it: its own connections, local tier, Redis client and place in the outbox."""
    opened: list[CatalogContext] = []

    async def open_one() -> CatalogContext:
        opened.append(build(of_processes, await open_database("catalog", MIGRATIONS)))
        await opened[-1].copies.follower.step()
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Product ids that are asked of the database."""
    asked: list[int] = []
    find = store.find

    def counted(tx, ids, *, lock=False):
        if not lock:
            asked.extend(ids)
        return find(tx, ids, lock=lock)

    monkeypatch.setattr(store, "find", counted)
    return asked


def price(amount: int, version: int) -> ProductChange:
    return ProductChange(version, skus=(SkuChange("TEA-1", price=sku(amount=amount).price),))


def renamed(name: str, version: int) -> ProductChange:
    return ProductChange(version, title=Bilingual(name))


async def test_a_product_is_read_once_and_each_change_is_seen(
    open_process: OpenProcess, monkeypatch: pytest.MonkeyPatch
):
    shop = await open_process()
    product = await shop.service.create(MERCHANT, "k", draft())
    asked = count_reads(monkeypatch)
    for _ in range(5):
        assert await shop.service.product(None, product.id) == product
    assert asked == [product.id]
    changed = await shop.service.change(MERCHANT, product.id, renamed("Tea Table", 1))
    assert await shop.service.product(None, product.id) == changed
    await shop.copies.follower.step()
    assert await shop.service.product(None, product.id) == changed


async def test_without_a_follower_nothing_is_kept(of_processes: Platform, open_database, monkeypatch):
    shop = build(of_processes, await open_database("catalog", MIGRATIONS))
    product = await shop.service.create(MERCHANT, "k", draft())
    asked = count_reads(monkeypatch)
    for _ in range(3):
        await shop.service.product(None, product.id)
    assert len(asked) == 3
    await shop.close()


async def test_a_copy_of_a_draft_is_still_only_its_merchants(open_process: OpenProcess):
    shop = await open_process()
    product = await shop.service.create(MERCHANT, "k", draft(status="draft"))
    for _ in range(2):
        assert await shop.service.product(MERCHANT, product.id) == product
        for stranger in (None, RIVAL):
            with pytest.raises(ProductNotFound):
                await shop.service.product(stranger, product.id)


async def test_another_process_hears_of_it_from_the_outbox(open_process: OpenProcess):
    here, there = await open_process(), await open_process()
    product = await here.service.create(MERCHANT, "k", draft())
    await there.copies.follower.step()
    for shop in (here, there):
        for _ in range(3):
            await shop.service.product(None, product.id)
    changed = await here.service.change(MERCHANT, product.id, price(5, 1))
    await there.copies.follower.step()
    assert await there.service.product(None, product.id) == changed


async def test_lists_and_categories_are_kept_and_taken_back(open_process: OpenProcess):
    here, there = await open_process(), await open_process()
    for shop in (here, there):
        assert (await shop.service.products(0, 10)).items == []
        assert await shop.service.categories() == []
    product = await here.service.create(MERCHANT, "k", draft())
    assert (await here.service.products(0, 10)).items == [product], "who wrote it reads it at once"
    await there.copies.follower.step()
    for shop in (here, there):
        for _ in range(2):
            assert (await shop.service.products(0, 10)).items == [product]
            assert list(await shop.service.categories()) == ["tea"]
        assert shop.copies.pages.stats.local_hits >= 1
        assert shop.copies.categories.stats.local_hits >= 1
    await here.service.change(MERCHANT, product.id, ProductChange(1, status="archived"))
    await there.copies.follower.step()
    for shop in (here, there):
        assert (await shop.service.products(0, 10)).items == []


async def test_no_read_is_older_than_declared_while_others_write(open_process: OpenProcess):
    """A client's own ledger: when each version was acknowledged, and what each read began and brought."""
    writer, reader = await open_process(), await open_process()
    products = [await writer.service.create(MERCHANT, f"k{n}", draft(f"C-{n}")) for n in range(5)]
    acknowledged: dict[int, list[tuple[float, int]]] = {each.id: [(0.0, 1)] for each in products}
    stale_s, dice, ended = PRODUCTS.default.stale_ms / 1000, random.Random(5), False
    found: list[str] = []
    reads = 0

    async def write() -> None:
        nonlocal ended
        for number in range(150):
            of = dice.choice(products).id
            version = acknowledged[of][-1][1]
            changed = await writer.service.change(MERCHANT, of, renamed(f"Tea {number}", version))
            acknowledged[of].append((time.monotonic(), changed.version))
        ended = True

    async def read(shop: CatalogContext, bound_s: float) -> None:
        nonlocal reads
        while not ended:
            of, begun_s = dice.choice(products).id, time.monotonic()
            due = max(version for at_s, version in acknowledged[of] if at_s <= begun_s - bound_s)
            seen = (await shop.service.product(None, of)).version
            reads += 1
            if seen < due:
                found.append(f"{of}: version {seen}, {due} was acknowledged")
            await asyncio.sleep(0)

    followers = [asyncio.create_task(shop.copies.follower.run()) for shop in (writer, reader)]
    try:
        await asyncio.gather(write(), read(writer, 0.0), read(reader, stale_s), read(reader, stale_s))
    finally:
        for follower in followers:
            follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await follower
    assert found == []
    assert reads > 150
    # When nobody writes any more, one look is enough.
    await reader.copies.follower.step()
    for of, versions in acknowledged.items():
        assert (await reader.service.product(None, of)).version == versions[-1][1]


async def test_a_follower_that_hears_nothing_ends_the_trust(of_processes: Platform, open_database):
    now_ms = 1_000
    database = await open_database("catalog", MIGRATIONS)
    shop = build(of_processes, database)
    copies = copies_of.Copies(of_processes, database, "catalog", now_ms=lambda: now_ms)
    await copies.follower.step()
    stale_ms = PRODUCTS.default.stale_ms
    now_ms += stale_ms
    assert copies.follower.trusted(stale_ms)
    now_ms += 1
    assert not copies.follower.trusted(stale_ms)
    await copies.follower.step()
    assert copies.follower.trusted(stale_ms)
    await shop.close()


async def kept_in_redis(redis: Redis, product: Product) -> str | None:
    return await redis.command("HGET", f"{copies_of.PREFIX}{product.id}", "version")


@pytest.mark.parametrize("at", ["cache.read-not-taken-back", "cache.taken-back-not-kept"])
async def test_killed_between_the_commit_and_taking_back(
    platform: Platform,
    open_database: OpenDatabase,
    database_settings: DatabaseSettings,
    own_redis: RedisServer,
    tmp_path: Path,
    at: str,
):
    """All processes die, Redis keeps the old copy. The next process takes it back before it trusts anything."""
    settings = structs.replace(platform.settings, redis=RedisSettings(own_redis.url))
    on_redis = Platform(settings, platform.clock, platform.ids, platform.wakeups)
    database = await open_database("catalog", MIGRATIONS)
    redis = Redis(own_redis.url)
    first = build(on_redis, database)
    await first.copies.follower.step()
    product = await first.service.create(MERCHANT, "k", draft())
    await first.service.product(None, product.id)
    assert await kept_in_redis(redis, product) == "1"
    # Committed by a process that does no more than that: its Redis is not told.
    silent = build(platform, database)
    changed = await silent.service.change(MERCHANT, product.id, price(5, 1))
    await first.close()
    assert await kept_in_redis(redis, product) == "1"

    await die("contexts.catalog.copies_child", at, Job(str(tmp_path), database_settings.url, own_redis.url))
    assert await kept_in_redis(redis, product) == ("1" if at == "cache.read-not-taken-back" else None)

    next_one = build(on_redis, database)
    assert await next_one.service.product(None, product.id) == changed, "it trusts nothing yet"
    await next_one.copies.follower.step()
    assert await kept_in_redis(redis, product) is None
    assert await next_one.service.product(None, product.id) == changed
    assert await kept_in_redis(redis, product) == "2"
    await next_one.close()
    await redis.close()


async def test_the_place_moves_only_when_redis_has_heard(
    platform: Platform, open_database: OpenDatabase, own_redis: RedisServer
):
    settings = structs.replace(platform.settings, redis=RedisSettings(own_redis.url))
    database = await open_database("catalog", MIGRATIONS)
    shop = build(Platform(settings, platform.clock, platform.ids, platform.wakeups), database)
    await shop.copies.follower.step()
    before = await place(database)
    own_redis.stop()
    product = await shop.service.create(MERCHANT, "k", draft())
    changed = await shop.service.change(MERCHANT, product.id, price(5, 1))
    await shop.copies.follower.step()
    assert await place(database) == before
    assert await shop.service.product(None, product.id) == changed
    again = start_redis(own=True, port=int(own_redis.url.rpartition(":")[2].partition("/")[0]))
    try:
        async with asyncio.timeout(30):
            while await place(database) == before:
                with contextlib.suppress(Busy):
                    await shop.copies.follower.step()
                await asyncio.sleep(0.05)
    finally:
        again.stop()
    await shop.close()


async def place(database: Database) -> tuple[int, int]:
    statement = sa.select(positions.c.txid, positions.c.seq).where(positions.c.consumer == copies_of.FOLLOWER)
    return await database.read(lambda tx: tuple(tx.execute(statement).one()))


async def test_preloaded_before_a_sale(open_process: OpenProcess, monkeypatch: pytest.MonkeyPatch):
    shop = await open_process()
    product = await shop.service.create(MERCHANT, "k", draft("A", "B"))
    await shop.service.preload([each.id for each in product.skus])
    asked = count_reads(monkeypatch)
    assert await shop.service.product(None, product.id) == product
    assert asked == []
    assert shop.copies.products.stats.local_hits == 1


async def test_flushed_it_is_read_from_the_database_and_kept_again(
    open_process: OpenProcess, monkeypatch: pytest.MonkeyPatch
):
    shop = await open_process()
    product = await shop.service.create(MERCHANT, "k", draft())
    asked = count_reads(monkeypatch)
    await shop.service.product(None, product.id)
    await shop.service.categories()
    kept = sum(cache.entries() for cache in shop.copies.named().values())
    flushed = await shop.copies.flush()
    assert (flushed.local, flushed.complete) == (kept, True)
    assert kept >= 1
    assert sum(cache.entries() for cache in shop.copies.named().values()) == 0
    before = len(asked)
    for _ in range(3):
        assert await shop.service.product(None, product.id) == product
    assert len(asked) == before + 1
