"""Letting people in: the draw at the opening, then so many a second as the claim path is measured to carry.

One process does it, by a lease in the room's row. What is let in is decided from that row, locked, so a second
releaser does no harm: it finds that no time has passed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.drawing import draw
from doorbuster.contexts.waiting_room.model import Room, Seen, has_work, is_due_to_be_drawn, lets_in
from doorbuster.contexts.waiting_room.outages import Outages
from doorbuster.contexts.waiting_room.pacing import WAITING_ROOM, RoomSettings
from doorbuster.contexts.waiting_room.turns import first_turn, turn
from doorbuster.contracts.flash_sale import ClaimPace, GuardsSales, SaleDoor, SaleStarted
from doorbuster.kernel.errors import Busy
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "waiting_room"
TICK_S = 0.5
OUTAGE_PAUSE_S = 2.0
AT_ONCE = 3
"""Rooms that are looked after at the same time: arrivals need a connection, too."""
LEASE_MS = 3_000
EXPIRE_AFTER_MS = 2_000
"""A claim made in the last moment may be heard of so much later; whoever did not claim by then gives the place back."""

log = structlog.get_logger(NAME)


class Releaser:
    def __init__(self, platform: Platform, database: Database, sales: GuardsSales) -> None:
        self._platform = platform
        self._database = database
        self._sales = sales
        self._settings = platform.runtime.live(WAITING_ROOM)
        self._owner = str(platform.ids.next())
        self._due_after = self._live_after = 0
        self._places = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[int, asyncio.Task[int]] = {}
        """By sale. A room that waits for its lock is left to itself, and the others have their next tick."""
        self.outages = Outages()

    async def run(self) -> None:
        """Ticks until cancelled. An outage of everything is logged when it begins."""
        out = False
        try:
            while True:
                try:
                    await self.tick(TICK_S)
                    out = False
                except Busy as outage:
                    if not out:
                        log.warning("the waiting room waits", error=repr(outage))
                    out = True
                await asyncio.sleep(OUTAGE_PAUSE_S if out else TICK_S)
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def tick(self, patience_s: float | None = None) -> int:
        """Looks after every room that this process may and that has work; how many people were let in.

        A room that fails, or is not ready after `patience_s`, does not hold up the others. Raises Busy if all of them
        fail by it. Without work nothing is locked or written: not even the lease, which is taken by whoever finds work
        first.
        """
        now_ms = self._platform.clock.now_ms()
        ours = [seen for seen in await self._seen(now_ms) if self._may(seen.room, now_ms)]
        if not ours:
            return 0
        doors = {door.sale_id: door for door in await self._sales.doors([seen.room.sale_id for seen in ours])}
        for seen in ours:
            room, door = seen.room, doors.get(seen.room.sale_id)
            if door is not None and room.sale_id not in self._under_way and has_work(seen, door, now_ms):
                self._under_way[room.sale_id] = asyncio.create_task(self._in_turn(room, door, now_ms))
        if not self._under_way:
            return 0
        done, _ = await asyncio.wait(self._under_way.values(), timeout=patience_s)
        self._under_way = {sale_id: task for sale_id, task in self._under_way.items() if task not in done}
        if done:
            self._platform.wakeups.wake(NAME)
        failures = [task.exception() for task in done]
        busy = [failure for failure in failures if isinstance(failure, Busy)]
        if busy and len(busy) == len(done):
            raise busy[0]
        return sum(task.result() for task, failure in zip(done, failures, strict=True) if failure is None)

    async def _in_turn(self, room: Room, door: SaleDoor, now_ms: int) -> int:
        """Raises what it has told `outages`."""
        async with self._places:
            try:
                released = await self._look_after(room, door, now_ms)
            except Exception as error:
                self.outages.failed(room.sale_id, error, now_ms)
                raise
            self.outages.mended(room.sale_id)
            crash_point("waiting-room.released")
            return released

    async def _seen(self, now_ms: int) -> Sequence[Seen]:
        """The next page of rooms that are due, and of all whose sales may have changed; each once.

        Pages go round, whatever becomes of the rooms on them: no room keeps another from its turn.
        """
        ended_ms = now_ms - EXPIRE_AFTER_MS

        def pages(tx: Tx) -> tuple[list[Seen], list[Seen]]:
            due = store.due_rooms(tx, now_ms, ended_ms, self._due_after)
            return due, store.live_rooms(tx, now_ms, ended_ms, self._live_after)

        due, live = await self._database.read(pages)
        self._due_after, self._live_after = _turn(due), _turn(live)
        return list({seen.room.sale_id: seen for seen in (*due, *live)}.values())

    async def _look_after(self, room: Room, door: SaleDoor, now_ms: int) -> int:
        """Raises Busy."""
        await self._settle_guard(room, door, now_ms)
        pace, settings = self._sales.pace(), self._settings()
        return await self._database.write(lambda tx: self._move(tx, door, pace, settings))

    def _may(self, room: Room, now_ms: int) -> bool:
        """A lease that ends later than any that is given now is one from before the clock was set back."""
        return room.releaser == self._owner or not 0 < room.lease_until_ms - now_ms <= LEASE_MS

    async def _settle_guard(self, room: Room, door: SaleDoor, now_ms: int) -> None:
        """Whoever switched the room may have died before the sale heard of it."""
        if room.enabled != door.guarded and now_ms < door.opens_ms:
            try:
                await self._sales.guard(room.sale_id, guarded=room.enabled)
            except SaleStarted:
                log.warning("a sale opened before its waiting room was settled", sale_id=room.sale_id)

    def _move(self, tx: Tx, door: SaleDoor, pace: ClaimPace, settings: RoomSettings) -> int:
        """One tick of one room; how many were let in. The clock is read behind the lock."""
        (room,) = store.lock_rooms(tx, [door.sale_id])
        now_ms = self._platform.clock.now_ms()
        if not self._may(room, now_ms):
            return 0
        if (room.opens_ms, room.closes_ms) != (door.opens_ms, door.closes_ms):
            store.update_room(tx, room, opens_ms=door.opens_ms, closes_ms=door.closes_ms)
            return 0  # the next tick goes on from there
        lease: dict[str, object] = {"releaser": self._owner, "lease_until_ms": now_ms + LEASE_MS}
        if now_ms < room.ticked_ms:  # the clock was set back: time counts from here
            store.note(tx, room, **lease, ticked_ms=now_ms)
            return 0
        if room.enabled != door.guarded and now_ms >= door.opens_ms:
            # The sale opened before both agreed. Claims go by the sale, so that is the truth from now on.
            store.update_room(tx, room, **lease, enabled=door.guarded)
            return 0
        if room.drawn_ms is None:
            if is_due_to_be_drawn(room, now_ms):
                store.update_room(tx, room, **lease, **_drawn(tx, room, settings, now_ms))
            return 0
        expired = store.expire(tx, room.sale_id, now_ms - EXPIRE_AFTER_MS)
        count, measured = _released(tx, room, door, pace, settings, now_ms)
        if expired or count:
            changed = {"released": room.released + count, "expired": room.expired + expired}
            store.update_room(tx, room, **lease, **changed, **measured)
        elif room.places > room.released or room.used != room.used_counted:
            store.note(tx, room, **lease, **measured)
        return count


def _turn(page: Sequence[Seen]) -> int:
    """Behind which sale the next page begins: behind a full one, else from the beginning."""
    return page[-1].room.sale_id if len(page) == store.ROOMS_PAGE else 0


def _drawn(tx: Tx, room: Room, settings: RoomSettings, now_ms: int) -> dict[str, object]:
    places, lot = draw(tx, room)
    crash_point("waiting-room.drawn-not-committed")
    return {"drawn_ms": now_ms, "places": places, "lot": lot, **first_turn(settings, now_ms)}


def _released(
    tx: Tx, room: Room, door: SaleDoor, pace: ClaimPace, settings: RoomSettings, now_ms: int
) -> tuple[int, dict[str, int]]:
    """Lets people in; how many, and what was measured."""
    admitted = store.count_admitted(tx, room.sale_id)
    free = max(0, settings.unused_max - admitted) if lets_in(room, door, now_ms) else 0
    count, measured = turn(room, settings, pace.wait_ms, free, now_ms)
    if count:
        until_ms = now_ms + settings.admitted_for_s * 1000
        let_in = store.admit(tx, room.sale_id, room.released + 1, room.released + count, (now_ms, until_ms))
        assert let_in == count, "places are without gaps, and those behind the last released one wait"
    return count, measured
