"""The rooms of a process: its relays and background tasks, run together, ended together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from doorbuster.apps.shop import Shop
from doorbuster.kernel.errors import Busy
from doorbuster.platform.bus.consumer import position_of
from doorbuster.platform.bus.outbox import EVERYTHING, trim
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.context import Context, Room
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import forget_keys

HOUSEKEEPING_EVERY_S = 60.0
STEPS_MAX = 100
OUTBOX_KEPT_MS = 24 * 3600 * 1000
"""How long delivered events stay in the outbox."""

log = structlog.get_logger("rooms")


async def run_rooms(shop: Shop, rooms: Collection[Room]) -> None:
    """Runs what belongs into these rooms until cancelled. A task that fails ends the process: it is restarted."""
    async with asyncio.TaskGroup() as tasks:
        for name, work in work_of(shop, rooms):
            tasks.create_task(_awaited(work), name=name)


async def _awaited(work: Awaitable[None]) -> None:
    await work


def work_of(shop: Shop, rooms: Collection[Room]) -> list[tuple[str, Awaitable[None]]]:
    """Relays and tasks by name, none of them begun."""
    work: list[tuple[str, Awaitable[None]]] = [("worker-lease", shop.lease.keep())]
    for context in shop.contexts:
        if context.consumers_room in rooms:
            work += [(f"relay {relay.consumer.name}", relay.run()) for relay in relays(shop, context)]
        work += [(task.name, task.run()) for task in context.tasks if task.room in (*rooms, "every")]
    if "front" in rooms:
        work.append(("housekeeping", _keep_house(shop)))
    return work


def relays(shop: Shop, context: Context) -> list[Relay]:
    """One per consumer of the context."""
    platform = shop.platform
    return [
        Relay(shop.databases[consumer.source], context.database, consumer, platform.wakeups, platform.clock)
        for consumer in context.consumers
    ]


async def _keep_house(shop: Shop) -> None:
    """Deletes what has served its time, in small transactions, so that nothing grows for ever."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_EVERY_S)
        now_ms = shop.platform.clock.now_ms()
        for context in shop.contexts:
            try:
                await trim_outbox(shop, context, now_ms - OUTBOX_KEPT_MS)
                if context.keeps_idempotency_keys:
                    await _in_steps(context.database, lambda tx, now_ms=now_ms: forget_keys(tx, now_ms))
            except Busy as outage:
                log.warning("housekeeping waits", context=context.name, error=repr(outage))


async def trim_outbox(shop: Shop, source: Context, before_ms: int) -> int:
    """Deletes what every consumer of `source` has passed and is older than `before_ms`, in bounded steps."""
    positions = [
        await listener.database.read(lambda tx, consumer=consumer: position_of(tx, consumer))
        for listener in shop.contexts
        for consumer in listener.consumers
        if consumer.source == source.name
    ]
    passed = min(positions, default=EVERYTHING)  # nobody listens: age alone decides
    return await _in_steps(source.database, lambda tx: trim(tx, passed, before_ms))


async def _in_steps(database: Database, delete: Callable[[Tx], int]) -> int:
    """Repeats a bounded deletion until nothing is left, at most STEPS_MAX times a round."""
    deleted = 0
    for _ in range(STEPS_MAX):
        step = await database.write(delete)
        deleted += step
        if not step:
            break
    return deleted
