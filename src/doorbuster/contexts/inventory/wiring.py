"""Builds the inventory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from doorbuster.contexts.inventory.deduction.in_database import Grouped, Optimistic, Pessimistic
from doorbuster.contexts.inventory.deduction.port import Deduction, Writer
from doorbuster.contexts.inventory.events import consumers
from doorbuster.contexts.inventory.expiry import Expiry
from doorbuster.contexts.inventory.service import NAME, InventoryService
from doorbuster.contracts.catalog import Catalog
from doorbuster.kernel.errors import Busy
from doorbuster.platform.context import BackgroundTask, Context, Faces, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import History

if TYPE_CHECKING:
    from doorbuster.contexts.inventory.deduction.scripted import Scripted

HISTORY = History("doorbuster.contexts.inventory.migrations")
SWEEP_S = 1.0

log = structlog.get_logger(NAME)


@dataclass(frozen=True)
class InventoryContext:
    """`close` is awaited when the process ends. `scripted` is there with the strategy redis_lua."""

    service: InventoryService
    expiry: Expiry
    context: Context
    close: Callable[[], Awaitable[None]]
    scripted: Scripted | None = None


def build(platform: Platform, database: Database, catalog: Catalog) -> InventoryContext:
    """Raises ValueError when the strategy needs Redis and no address is set."""
    deduction = _deduction(platform, database)
    service = InventoryService(platform, database, catalog, deduction)
    expiry = Expiry(database, platform.clock)
    tasks = [BackgroundTask("inventory-expiry", "back", expiry.run)]
    scripted = _scripted(deduction)
    if scripted is not None:
        tasks.append(BackgroundTask("inventory-reconciler", "back", lambda: _reconciling(scripted)))

    def faces() -> Faces:
        from doorbuster.contexts.inventory import http

        return Faces(http.routes(service))

    context = Context(
        name=NAME,
        database=database,
        history=HISTORY,
        faces=faces,
        consumers=consumers(platform.clock),
        tasks=tuple(tasks),
        keeps_idempotency_keys=True,
    )
    return InventoryContext(service, expiry, context, service.close, scripted)


def _deduction(platform: Platform, database: Database) -> Deduction:
    settings, writer = platform.settings.inventory, Writer(database, platform.clock)
    grouped = Grouped(writer, settings.batch_max, settings.waiting_max)
    if settings.strategy == "group_commit":
        return grouped
    if settings.strategy == "pessimistic":
        return Pessimistic(writer)
    if settings.strategy == "optimistic":
        return Optimistic(writer)
    if not platform.settings.redis.url:
        raise ValueError(f"inventory.strategy {settings.strategy} needs redis.url")
    # Only here: the client is not for processes that do without.
    from doorbuster.platform.redis import REDIS, Redis

    terms = platform.runtime.live(REDIS)
    redis = Redis(platform.settings.redis.url, lambda server: platform.neighbours.get("redis", server, terms))
    if settings.strategy == "redis_lua":
        from doorbuster.contexts.inventory.deduction.scripted import Scripted

        return Scripted(redis, database, platform.clock, grouped)
    from doorbuster.contexts.inventory.deduction.locked import Locked
    from doorbuster.platform.locks.redis_lock import RedisLocks

    return Locked(writer, RedisLocks(redis, "doorbuster:inventory:"), grouped, redis.close)


def _scripted(deduction: Deduction) -> Scripted | None:
    from doorbuster.contexts.inventory.deduction import scripted

    return deduction if isinstance(deduction, scripted.Scripted) else None


async def _reconciling(scripted: Scripted) -> None:
    """Sweeps until cancelled."""
    while True:
        try:
            await scripted.reconcile()
        except Busy as outage:
            log.warning("reconciler waits", error=repr(outage))
        await asyncio.sleep(SWEEP_S)
