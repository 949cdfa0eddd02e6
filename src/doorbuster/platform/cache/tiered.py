"""A cache of two tiers: this process and, if there is one, Redis.

Old values do not come back, by a mark and not by luck. Within a process, whoever reads or writes holds a ticket; a
change marks the tickets of its key, and what they bring is then kept only if it is as new. Between processes, the lease
in Redis does the same. And a process trusts its copies only as long as it hears of changes (`trusted`).
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Generic, TypeVar

from doorbuster.kernel.errors import Unavailable
from doorbuster.platform.cache.codec import Codec
from doorbuster.platform.cache.local import Entry, LocalTier
from doorbuster.platform.cache.port import CacheStats, Flushed
from doorbuster.platform.cache.redis_tier import RedisTier
from doorbuster.platform.cache.settings import CacheSettings
from doorbuster.platform.cache.tickets import Ticket, Tickets

T = TypeVar("T")
Load = Callable[[], Awaitable[T | None]]

POLL_S, POLL_MAX_S = 0.005, 0.05
"""Pauses while another process loads."""
FLIGHTS_MAX = 10_000
"""Loads under way that others may join; above it each loads for itself."""


class TieredCache(Generic[T]):
    """See `port.Cache`. `now_ms` is any clock that never goes back, `dice` gives numbers in [0, 1)."""

    def __init__(
        self,
        settings: Callable[[], CacheSettings],
        codec: Codec[T],
        trusted: Callable[[int], bool],
        now_ms: Callable[[], int],
        dice: Callable[[], float],
        redis: RedisTier | None = None,
    ) -> None:
        """`trusted(ms)`: whether every change that is older than this has been forgotten here."""
        self._settings, self._codec, self._trusted = settings, codec, trusted
        self._now_ms, self._dice, self._redis = now_ms, dice, redis
        self._local = LocalTier[T](settings().local_entries)
        self._tickets = Tickets()
        self._flights: dict[str, tuple[Ticket, asyncio.Task[T | None]]] = {}
        self.stats = CacheStats()

    # --- reading --------------------------------------------------------------------------------------------------

    async def get(self, key: str) -> T | None:
        settings = self._settings()
        if not self._usable(settings):
            return None
        entry = self._local.get(key, self._now_ms())
        if entry is not None:
            return entry.value
        if self._redis is None or self._redis.distrusted(key, self._now_ms()):
            return None
        try:
            found = await self._redis.peek(key)
            return None if found is None else self._codec.decode(found.body)
        except Unavailable:
            self.stats.redis_failures += 1
        except ValueError:
            return None  # of another release of the shop
        return None

    async def get_or_load(self, key: str, load: Load[T]) -> T | None:
        settings = self._settings()
        if not self._usable(settings):
            self.stats.bypassed += 1
            return await load()
        seen = self._local.seen(key)
        entry = self._local.get(key, self._now_ms())
        if entry is not None:
            self.stats.local_hits += 1
            return entry.value
        return await self._fly(key, load, settings, hot=seen >= settings.hot_reads)

    async def preload(self, key: str, load: Load[T]) -> None:
        settings = self._settings()
        if not self._usable(settings):
            return
        while self._local.seen(key) < settings.hot_reads:
            pass  # ends: each look counts, and hot_reads is at most what is counted to
        if self._local.get(key, self._now_ms()) is None:
            await self._fly(key, load, settings, hot=True)

    def _usable(self, settings: CacheSettings) -> bool:
        if settings.local_entries != self._local.capacity:
            self._local.resize(settings.local_entries)
        return settings.enabled and self._trusted(settings.stale_ms)

    async def _fly(self, key: str, load: Load[T], settings: CacheSettings, *, hot: bool) -> T | None:
        flight = self._flights.get(key)
        if flight is not None:
            self.stats.joined += 1
            return await asyncio.shield(flight[1])
        ticket = self._tickets.open(key)
        task = asyncio.create_task(self._fetch(ticket, load, settings, hot=hot), name="cache-load")
        if len(self._flights) < FLIGHTS_MAX:
            self._flights[key] = ticket, task
        task.add_done_callback(lambda done: self._land(ticket, done))
        return await asyncio.shield(task)  # who goes away does not end it for those who wait too

    def _land(self, ticket: Ticket, done: asyncio.Task[T | None]) -> None:
        self._tickets.close(ticket)
        flight = self._flights.get(ticket.key)
        if flight is not None and flight[0] is ticket:
            del self._flights[ticket.key]
        if not done.cancelled():
            done.exception()  # everybody who waited for it may have gone

    async def _fetch(self, ticket: Ticket, load: Load[T], settings: CacheSettings, *, hot: bool) -> T | None:
        redis = self._redis
        if redis is None or redis.distrusted(ticket.key, self._now_ms()):
            return await self._loaded(ticket, load, settings)
        token = uuid.uuid4().hex
        try:
            state, value, version = await self._asked(redis, ticket.key, token, settings)
        except Unavailable:
            self.stats.redis_failures += 1
            return await self._loaded(ticket, load, settings)
        if state == "hit":
            self.stats.redis_hits += 1
            if hot:
                self._keep(ticket, value, version, settings)
            return value
        if state == "busy":
            return await self._loaded(ticket, load, settings)
        return await self._loaded_for_all(redis, ticket, token, load, settings, hot=hot)

    async def _asked(
        self, redis: RedisTier, key: str, token: str, settings: CacheSettings
    ) -> tuple[str, T | None, int]:
        """Waits, within its bound, for whoever loads. Raises Unavailable."""
        give_up_ms, pause_s = self._now_ms() + settings.wait_ms, POLL_S
        while True:
            found = await redis.look(key, token, settings.lease_ms)
            if found.state == "hit":
                try:
                    return "hit", self._codec.decode(found.body), found.version
                except ValueError:  # of another release of the shop: it stays theirs
                    return "busy", None, 0
            if found.state == "lease" or self._now_ms() >= give_up_ms:
                return found.state, None, 0
            await asyncio.sleep(pause_s * (0.5 + self._dice()))
            pause_s = min(2 * pause_s, POLL_MAX_S)

    async def _loaded(self, ticket: Ticket, load: Load[T], settings: CacheSettings) -> T | None:
        self.stats.loads += 1
        value = await load()
        self._keep(ticket, value, self._version(value), settings)
        return value

    async def _loaded_for_all(
        self, redis: RedisTier, ticket: Ticket, token: str, load: Load[T], settings: CacheSettings, *, hot: bool
    ) -> T | None:
        self.stats.loads += 1
        try:
            value = await load()
        except BaseException:
            with contextlib.suppress(Unavailable):
                await redis.release(ticket.key, token)
            raise
        version = self._version(value)
        if hot:
            self._keep(ticket, value, version, settings)
        body = self._codec.encode(value)
        try:
            kept = await redis.put(ticket.key, token, body, version, self._expiry(settings, value, settings.expires_ms))
            self.stats.refused += not kept
        except Unavailable:
            self.stats.redis_failures += 1
        return value

    # --- keeping and forgetting -----------------------------------------------------------------------------------

    def _keep(self, ticket: Ticket, value: T | None, version: int, settings: CacheSettings) -> None:
        if version < ticket.floor:
            self.stats.refused += 1
            return
        until_ms = self._now_ms() + self._expiry(settings, value, settings.local_ms)
        self._local.put(ticket.key, Entry(value, version, until_ms))

    def _expiry(self, settings: CacheSettings, value: T | None, expires_ms: int) -> int:
        if value is None:
            expires_ms = min(expires_ms, settings.negative_ms)
        return max(1, int(expires_ms * (1 - self._dice() * settings.jitter_percent / 100)))

    def _version(self, value: T | None) -> int:
        return 0 if value is None else self._codec.version(value)

    @contextmanager
    def changing(self, key: str) -> Generator[OwnChange[T]]:
        ticket = self._tickets.open(key)
        try:
            yield OwnChange(ticket, self._changed)
        finally:
            self._tickets.close(ticket)

    def _changed(self, ticket: Ticket, value: T) -> None:
        version, settings = self._version(value), self._settings()
        floor = ticket.floor
        self.forget({ticket.key: version})
        ticket.floor = floor  # one's own change is not news to it
        if self._usable(settings):
            self._keep(ticket, value, version, settings)

    def forget(self, changes: Mapping[str, int]) -> None:
        for key, version in changes.items():
            self._tickets.mark(key, version)
            self._flights.pop(key, None)  # whoever asks from now on does not join a read that began before
            self._local.drop(key, version)
        if self._redis is not None and changes:
            expires_ms = self._settings().expires_ms
            self._redis.must_take_back(changes, self._now_ms(), expires_ms)

    async def settle(self) -> bool:
        if self._redis is None:
            return True
        try:
            await self._redis.take_back()
        except Unavailable:
            self.stats.redis_failures += 1
        return self._redis.settled(self._now_ms())

    def clear(self) -> int:
        forgotten = len(self._local)
        self._tickets.mark_all()
        self._flights.clear()
        self._local.clear()
        return forgotten

    async def flush(self) -> Flushed:
        if self._redis is None:
            return Flushed(self.clear(), None, complete=True)
        try:
            taken, complete = await self._redis.flush()
        except Unavailable:
            self.stats.redis_failures += 1
            return Flushed(self.clear(), None, complete=False)
        # The local tier last: until now it could be filled from Redis.
        return Flushed(self.clear(), taken, complete)

    def entries(self) -> int:
        return len(self._local)


class OwnChange(Generic[T]):
    """See `port.Change`."""

    def __init__(self, ticket: Ticket, changed: Callable[[Ticket, T], None]) -> None:
        self._ticket, self._changed = ticket, changed

    def done(self, value: T) -> None:
        self._changed(self._ticket, value)
