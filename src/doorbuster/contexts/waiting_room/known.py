"""Rooms as this process knows them: thousands watch one row, which is read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection

from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.model import Room
from doorbuster.contracts.waiting_room import RoomNotFound
from doorbuster.kernel.clock import Clock
from doorbuster.platform.sql.database import Database

AGE_MAX_MS = 500
KNOWN_MAX = 1_000
"""Rooms, and ids of none, that are remembered; the oldest give way."""


class KnownRooms:
    """Also what the hub of the streams asks: topics are sales whose version has changed."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[int, tuple[Room | None, int]] = {}
        self._told: dict[int, int] = {}
        self.topics: Callable[[], Collection[int]] = tuple

    async def room(self, sale_id: int) -> Room:
        """At most AGE_MAX_MS old. Raises RoomNotFound, Unavailable."""
        known = self._known.get(sale_id)
        if known is None or self._clock.now_ms() - known[1] > AGE_MAX_MS:
            await self._read([sale_id])
            known = self._known[sale_id]
        if known[0] is None:
            raise RoomNotFound
        return known[0]

    async def fresh(self, sale_id: int) -> Room:
        """As the database has it now. Raises RoomNotFound, Unavailable."""
        self._known.pop(sale_id, None)
        return await self.room(sale_id)

    async def _read(self, sale_ids: Collection[int]) -> None:
        now_ms = self._clock.now_ms()
        found = await self._database.read(lambda tx: store.find_rooms(tx, list(sale_ids)))
        rooms = {room.sale_id: room for room in found}
        for sale_id in sale_ids:
            while len(self._known) >= KNOWN_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[sale_id] = (rooms.get(sale_id), now_ms)

    async def start(self) -> None:
        self._told = {}

    async def next(self) -> Collection[int]:
        """The sales, of those that are followed, whose room has changed since they were last told."""
        followed = list(self.topics())
        if not followed:
            return ()
        await self._read(followed)
        now = {sale_id: room.version for sale_id in followed if (room := self._known[sale_id][0]) is not None}
        changed = [sale_id for sale_id, version in now.items() if self._told.get(sale_id) != version]
        self._told = now
        return changed
