"""Rooms as this process knows them: thousands watch one row, which is read once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.model import Room
from doorbuster.contracts.waiting_room import RoomNotFound
from doorbuster.kernel.clock import Clock
from doorbuster.platform.sql.database import Database

AGE_MAX_MS = 500
"""An entry older than this is read again."""
STALE_MAX_MS = 2_000
"""An entry up to this old answers meanwhile: a slow database does not hold up those who only watch."""
KNOWN_MAX = 1_000
"""Rooms, and ids of none, that are remembered; those read longest ago give way."""

log = structlog.get_logger("waiting_room")


class KnownRooms:
    """Also what the hub of the streams asks: topics are sales whose version has changed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[int, tuple[Room | None, int]] = {}
        self._reading: dict[int, asyncio.Task[Room | None]] = {}
        self._told: dict[int, int] = {}
        self.topics: Callable[[], Collection[int]] = tuple

    async def room(self, sale_id: int) -> Room:
        """At most STALE_MAX_MS old, and AGE_MAX_MS if reading is quick. Raises RoomNotFound, Unavailable."""
        known = self._known.get(sale_id)
        age_ms = None if known is None else self._clock.now_ms() - known[1]
        found = None if known is None else known[0]
        # An entry from the future (the clock was set back) says nothing about its age.
        if age_ms is None or not 0 <= age_ms <= AGE_MAX_MS:
            reading = self._read_once(sale_id)
            if age_ms is None or not 0 <= age_ms <= STALE_MAX_MS:
                found = await asyncio.shield(reading)
        if found is None:
            raise RoomNotFound
        return found

    async def fresh(self, sale_id: int) -> Room:
        """As the database has it now, not as a reading that is under way saw it. Raises RoomNotFound, Unavailable."""
        found = (await self._read([sale_id])).get(sale_id)
        if found is None:
            raise RoomNotFound
        return found

    def _read_once(self, sale_id: int) -> asyncio.Task[Room | None]:
        """The crowd of an opening asks at once: one of them reads."""
        reading = self._reading.get(sale_id)
        if reading is None:
            reading = self._reading[sale_id] = asyncio.create_task(self._read_one(sale_id))
            reading.add_done_callback(lambda done: self._was_read(sale_id, done))
        return reading

    def _was_read(self, sale_id: int, done: asyncio.Task[Room | None]) -> None:
        self._reading.pop(sale_id)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.warning("a waiting room was not read", sale_id=sale_id, error=repr(error))

    async def _read_one(self, sale_id: int) -> Room | None:
        return (await self._read([sale_id])).get(sale_id)

    async def _read(self, sale_ids: Collection[int]) -> Mapping[int, Room]:
        """Those that exist, also remembered."""
        now_ms = self._clock.now_ms()
        found = await self._database.read(lambda tx: store.find_rooms(tx, list(sale_ids)))
        rooms = {room.sale_id: self._newest(room) for room in found}
        for sale_id in sale_ids:
            self._known.pop(sale_id, None)  # it goes to the end, away from those that give way
            while len(self._known) >= KNOWN_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[sale_id] = (rooms.get(sale_id), now_ms)
        return rooms

    def _newest(self, room: Room) -> Room:
        """Readings overtake each other; a room's version only grows."""
        known = self._known.get(room.sale_id, (None, 0))[0]
        return known if known is not None and known.version > room.version else room

    async def start(self) -> None:
        self._told = {}

    async def next(self) -> Collection[int]:
        """The sales, of those that are followed, whose room has changed since they were last told."""
        followed = list(self.topics())
        if not followed:
            return ()
        now = {sale_id: room.version for sale_id, room in (await self._read(followed)).items()}
        changed = [sale_id for sale_id, version in now.items() if self._told.get(sale_id) != version]
        self._told = now
        return changed
