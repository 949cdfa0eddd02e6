"""redis_lock: a lock per SKU in Redis, taken in ascending order; its fencing token is checked in the write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from doorbuster.contexts.inventory.deduction.port import RACES_MAX, Deduction, Writer, in_time, log, only, pause
from doorbuster.contexts.inventory.model import Shelf
from doorbuster.contexts.inventory.posting import Guard, Stale, shelves
from doorbuster.contracts.inventory import Hold, HoldRequest
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import OutcomeUnknown, Overloaded, Unavailable
from doorbuster.platform.locks.redis_lock import RedisLocks


class Locked:
    """While Redis is down, holds fall back to `fallback`: the database needs no lock of ours to be right."""

    def __init__(
        self, writer: Writer, locks: RedisLocks, fallback: Deduction, close_redis: Callable[[], Awaitable[None]]
    ) -> None:
        self._writer, self._locks, self._fallback = writer, locks, fallback
        self._close_redis = close_redis

    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        names = [str(sku_id) for sku_id in sorted({line.sku_id for line in request.lines})]
        for attempt in range(RACES_MAX):
            in_time(deadline)
            try:
                async with self._locks.holding(names) as tokens:
                    in_time(deadline)  # the wait for the locks may have been long
                    return await self._write(request, tokens)
            except Stale:
                await self._raise_fences(request)
                await pause(attempt)
            except OutcomeUnknown:
                raise
            except Unavailable as down:
                log.warning("holding without the lock", error=repr(down))
                return await self._fallback.hold(request, deadline)
        raise Overloaded("too many want the same stock")

    async def _write(self, request: HoldRequest, tokens: dict[str, int]) -> Hold:
        def fenced(shelf: Shelf) -> Guard:
            return Guard(fence=tokens[str(shelf.sku_id)])

        return only(await self._writer.write([request], lock=False, guard=fenced))

    async def _raise_fences(self, request: HoldRequest) -> None:
        """Somebody came later, or Redis has forgotten its counters: go on above what the database has seen."""
        sku_ids = sorted({line.sku_id for line in request.lines})
        seen = await self._writer.database.read(lambda tx: shelves(tx, sku_ids, lock=False))
        try:
            for shelf in seen:
                await self._locks.raise_fence(str(shelf.sku_id), shelf.fence)
        except Unavailable as down:
            log.warning("cannot raise the fences", error=repr(down))

    async def close(self) -> None:
        await self._fallback.close()
        await self._close_redis()
