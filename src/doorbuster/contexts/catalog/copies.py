"""The catalogue's copies of what everybody looks at, and what takes them back.

Copies are of rows, not of answers: who may see a product is asked each time. Prices for a cart, an order or a sale are
never taken from here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from doorbuster.contracts.catalog import Product, ProductPublished
from doorbuster.platform.breaker.breaker import monotonic_ms
from doorbuster.platform.bus.outbox import type_of
from doorbuster.platform.cache.codec import Codec
from doorbuster.platform.cache.following import Follower
from doorbuster.platform.cache.port import Cache, Flushed
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import LISTS, PRODUCTS
from doorbuster.platform.cache.tiered import TieredCache
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.paging import Page

FOLLOWER = "catalog.copies"
PREFIX = "doorbuster:cache:product:1:"
"""With the number of the form: a release that stores a product in another way counts it up."""

_published = msgspec.json.Decoder(ProductPublished).decode


class Copies:
    """Used only while `follower` runs in this process: without it every read goes to the database."""

    def __init__(
        self,
        platform: Platform,
        database: Database,
        source: str,
        redis: RedisTier | None = None,
        now_ms: Callable[[], int] = monotonic_ms,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.follower = Follower(FOLLOWER, source, database, platform.wakeups, self._forget, self._settle, now_ms)
        trusted, lists = self.follower.trusted, platform.runtime.live(LISTS)
        products = Codec[Product](Product, lambda product: product.version)
        self.products: Cache[Product] = TieredCache(
            platform.runtime.live(PRODUCTS), products, trusted, now_ms, dice, redis
        )
        self.pages: Cache[Page[Product]] = TieredCache(lists, _UNVERSIONED, trusted, now_ms, dice)
        self.categories: Cache[Sequence[str]] = TieredCache(lists, _UNVERSIONED, trusted, now_ms, dice)

    def forget_lists(self) -> None:
        self.pages.clear()
        self.categories.clear()

    async def flush(self) -> Flushed:
        """Empties this process' copies, and Redis for all. Other processes keep what they have in themselves."""
        products = await self.products.flush()
        lists = self.pages.clear() + self.categories.clear()
        return Flushed(products.local + lists, products.redis, products.complete)

    def named(self) -> Mapping[str, Cache[Any]]:
        """For operators."""
        return {"products": self.products, "pages": self.pages, "categories": self.categories}

    async def _settle(self) -> bool:
        return await self.products.settle()

    def _forget(self, rows: Sequence[Any]) -> None:
        events = [_published(row.payload) for row in rows if row.type == type_of(ProductPublished)]
        if events:
            self.products.forget({str(event.product_id): event.version for event in events})
            self.forget_lists()


_UNVERSIONED: Codec[Any] = Codec(Any, lambda _: 1)
"""Of what is in no other tier."""
