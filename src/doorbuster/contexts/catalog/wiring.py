"""Builds the catalogue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from doorbuster.contexts.catalog.copies import PREFIX, Copies
from doorbuster.contexts.catalog.service import NAME, CatalogService
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CACHE_REDIS
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

if TYPE_CHECKING:
    from doorbuster.platform.redis import Redis

HISTORY = History("doorbuster.contexts.catalog.migrations")


@dataclass(frozen=True)
class CatalogContext:
    """`close` is awaited when the process ends."""

    service: CatalogService
    context: Context
    copies: Copies
    close: Callable[[], Awaitable[None]]


def build(platform: Platform, database: Database) -> CatalogContext:
    redis = _redis(platform)
    copies = Copies(platform, database, NAME, None if redis is None else RedisTier(redis, PREFIX))
    service = CatalogService(platform, database, copies)

    def faces() -> Faces:
        from doorbuster.contexts.catalog import http

        return Faces(http.routes(service))

    async def close() -> None:
        if redis is not None:
            await redis.close()

    context = Context(
        name=NAME,
        database=database,
        history=HISTORY,
        faces=faces,
        tasks=(BackgroundTask("catalog-copies", "front", copies.follower.run),),
        keeps_idempotency_keys=True,
    )
    return CatalogContext(service, context, copies, close)


def _redis(platform: Platform) -> Redis | None:
    if not platform.settings.redis.url:
        return None
    from doorbuster.platform.redis import Redis  # only here: the client is not for processes that do without

    settings = platform.runtime.live(CACHE_REDIS)
    return Redis(platform.settings.redis.url, lambda server: platform.neighbours.get("redis.cache", server, settings))
