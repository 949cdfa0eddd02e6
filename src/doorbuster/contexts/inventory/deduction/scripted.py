"""redis_lua: one script in Redis decides and journals, then the database writes.

Redis is a hint: it turns crowds away before they cost a transaction, and the database's conditions still decide. While
Redis is down, or does not know a SKU (flushed), holds go to the database directly; the reconciler brings Redis back.
"""

from __future__ import annotations

import time

import msgspec
from msgspec import Struct

from doorbuster.contexts.inventory import store
from doorbuster.contexts.inventory.deduction.port import Deduction, log
from doorbuster.contexts.inventory.holding import find_holds
from doorbuster.contexts.inventory.model import wanted
from doorbuster.contracts.inventory import Hold, HoldRequest, OutOfStock, StockInvalid
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import OutcomeUnknown, Unavailable
from doorbuster.platform.redis import Redis
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

PREFIX = "doorbuster:{inventory}:"
"""The braces keep all keys on one slot of a cluster, where a script may use them together."""
STOCK, TURNS, JOURNAL = f"{PREFIX}stock", f"{PREFIX}turns", f"{PREFIX}journal"
AFTER_FAILURE_S = 1.0
"""How long Redis is left alone after it has failed."""
PAGE = 1000
GRACE_MS = 15_000
"""A journalled hold that the database has not seen after so long never reached it."""

# stock: hash SKU → units; turns: hash SKU → how often a script took of it; journal: hash order → what it took.
_TAKE = """
if redis.call('HEXISTS', KEYS[3], ARGV[1]) == 1 then return 'known' end
for at = 3, #ARGV, 2 do
  local left = redis.call('HGET', KEYS[1], ARGV[at])
  if not left then return 'unknown' end
  if tonumber(left) < tonumber(ARGV[at + 1]) then return 'short' end
end
for at = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[at], -tonumber(ARGV[at + 1]))
  redis.call('HINCRBY', KEYS[2], ARGV[at], 1)
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
return 'taken'
"""
_SET = """
local set = 0
for at = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[2], ARGV[at]) or '0') == ARGV[at + 2] then
    redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
    set = set + 1
  end
end
return set
"""


class Taken(Struct, frozen=True):
    """A line of the journal."""

    at_ms: int
    units: dict[str, int]


class Scripted:
    def __init__(self, redis: Redis, database: Database, clock: Clock, behind: Deduction) -> None:
        self._redis, self._database, self._clock, self._behind = redis, database, clock, behind
        self._take, self._set = redis.script(_TAKE), redis.script(_SET)
        self._alone_until_s = 0.0

    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        verdict = await self._asked(request)
        if verdict == "short":
            held = await self._really(request)
            if held is not None:
                return held
        crash_point("inventory.taken-in-redis")
        try:
            hold = await self._behind.hold(request, deadline)
        except OutcomeUnknown:
            raise  # the reconciler finds out
        except Exception:
            # Refused, or nothing was written: the entry stays as a mark for the reconciler, which gives the units back.
            await self._mark(request.order_id, verdict)
            raise
        crash_point("inventory.held-not-settled")
        if verdict == "taken":
            await self._forget([request.order_id])
        return hold

    async def _asked(self, request: HoldRequest) -> str:
        """What Redis says: taken, known, short, unknown; or down."""
        try:
            units = wanted(request.lines)
        except StockInvalid:
            return "down"  # the database's path refuses it
        if time.monotonic() < self._alone_until_s:
            return "down"
        taken = msgspec.json.encode(Taken(self._clock.now_ms(), {str(sku): n for sku, n in units.items()})).decode()
        pairs = [word for pair in units.items() for word in pair]
        try:
            return str(await self._take([STOCK, TURNS, JOURNAL], request.order_id, taken, *pairs))
        except Unavailable as down:
            self._fail(down)
            return "down"

    async def _really(self, request: HoldRequest) -> Hold | None:
        """The order's hold, if it has one; None if the database has the units after all. Raises OutOfStock."""
        units = wanted(request.lines)

        def look(tx: Tx) -> tuple[Hold | None, dict[int, int]]:
            held = find_holds(tx, [request.order_id]).get(request.order_id)
            return held, store.available(tx, list(units))

        held, available = await self._database.read(look)
        if held is None:
            short = [str(sku_id) for sku_id, quantity in units.items() if available[sku_id] < quantity]
            if short:
                raise OutOfStock(sku_ids=short)
        return held if held is not None and held.status != "released" else None

    async def _mark(self, order_id: int, verdict: str) -> None:
        """As old as can be: the next sweep gives its units back."""
        if verdict == "taken":
            try:
                await self._redis.command("HSET", JOURNAL, order_id, '{"at_ms":0,"units":{}}')
            except Unavailable as down:
                self._fail(down)

    async def _forget(self, order_ids: list[int]) -> None:
        try:
            await self._redis.command("HDEL", JOURNAL, *order_ids)
        except Unavailable as down:
            self._fail(down)

    def _fail(self, down: Unavailable) -> None:
        log.warning("holding without Redis", error=repr(down))
        self._alone_until_s = time.monotonic() + AFTER_FAILURE_S

    # --- the reconciler ---------------------------------------------------------------------------------------------

    async def reconcile(self) -> int:
        """Brings Redis to what the database holds, less what is under way; returns how many counters were set.

        Counters that scripts took from meanwhile are left to the next sweep. Raises Unavailable.
        """
        journal = await self._journal()
        now_ms = self._clock.now_ms()
        settled, pending = await self._settled(journal, now_ms)
        done, after = 0, 0
        while page := await self._database.read(lambda tx, after=after: store.sku_page(tx, after, PAGE)):
            after = page[-1]
            turns = await self._redis.command("HMGET", TURNS, *page)
            journal = await self._journal()  # after the turns: what it misses has changed a turn
            _settled, pending = await self._settled(journal, now_ms)
            units = await self._database.read(lambda tx, page=page: store.available(tx, page))
            words: list[object] = []
            for sku_id, turn in zip(page, turns, strict=True):
                words += [sku_id, max(0, units[sku_id] - pending.get(str(sku_id), 0)), turn or "0"]
            done += int(await self._set([STOCK, TURNS], *words))
        if settled:
            await self._forget(settled)
        return done

    async def _journal(self) -> dict[int, Taken]:
        raw = await self._redis.command("HGETALL", JOURNAL)
        return {int(order): msgspec.json.decode(line, type=Taken) for order, line in dict(raw).items()}

    async def _settled(self, journal: dict[int, Taken], now_ms: int) -> tuple[list[int], dict[str, int]]:
        """Orders that need no entry any more, and units of the others, which the database has not seen."""
        held: set[int] = set()
        orders = sorted(journal)
        for at in range(0, len(orders), PAGE):
            page = orders[at : at + PAGE]
            held |= set(await self._database.read(lambda tx, page=page: list(find_holds(tx, page))))
        settled = [order for order, taken in journal.items() if order in held or taken.at_ms <= now_ms - GRACE_MS]
        pending: dict[str, int] = {}
        for order in journal.keys() - set(settled):
            for sku, units in journal[order].units.items():
                pending[sku] = pending.get(sku, 0) + units
        return settled, pending

    async def close(self) -> None:
        await self._behind.close()
        await self._redis.close()
