"""Use cases of the waiting room: put one before a sale, take a ticket, watch one's place, check the draw."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from doorbuster.contexts.waiting_room import books, store
from doorbuster.contexts.waiting_room.arriving import ARRIVAL_WAIT_MS, Arrival, take_tickets
from doorbuster.contexts.waiting_room.estimating import Estimate, estimate
from doorbuster.contexts.waiting_room.known import KnownRooms
from doorbuster.contexts.waiting_room.model import Room, Ticket, ahead_of
from doorbuster.contexts.waiting_room.pacing import WAITING_ROOM
from doorbuster.contexts.waiting_room.releasing import NAME
from doorbuster.contracts.audit import Check
from doorbuster.contracts.flash_sale import GuardsSales, SaleNotFound, SaleStarted
from doorbuster.contracts.waiting_room import RoomNotFound, TicketNotFound
from doorbuster.kernel.admission import Admission
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Forbidden, ShopError
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.context import Platform
from doorbuster.platform.http.admissions import AdmissionKeys
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit

ARRIVALS_BATCH, ARRIVALS_WAITING = 1_000, 20_000
ARRIVAL_WAIT_S = ARRIVAL_WAIT_MS / 1000
"""Whoever would be kept longer is asked to come again: places are in order of arrival within this time."""


class Standing(Struct, frozen=True):
    """A ticket, seen in its room at one version of it. `admission` is there while it is good."""

    room: Room
    ticket: Ticket
    ahead: int | None
    estimate: Estimate | None
    admission: str | None
    now_ms: int


Follow = Callable[[int], Awaitable[Standing | None]]


class WaitingRoomService:
    def __init__(
        self,
        platform: Platform,
        database: Database,
        sales: GuardsSales,
        keys: AdmissionKeys,
        known: KnownRooms,
        hub: Hub,
        new_seed: Callable[[], bytes],
    ) -> None:
        self._platform = platform
        self._database = database
        self._sales = sales
        self._keys = keys
        self._known = known
        self.hub = hub
        self._new_seed = new_seed
        self._pace = platform.runtime.live(WAITING_ROOM)
        self._arrivals: GroupCommit[Arrival, Ticket] = GroupCommit(
            self._commit,
            max_batch=ARRIVALS_BATCH,
            max_waiting=ARRIVALS_WAITING,
            patience_s=platform.settings.http.patience_s,
        )

    async def switch(self, principal: Principal, sale_id: int, *, enabled: bool) -> Room:
        """Puts a waiting room before a sale that has not opened, or takes it away; does nothing if it is so.

        The room is written before the sale demands admissions; the releaser carries on what stopped in between.
        Raises SaleNotFound, Forbidden, SaleStarted, Unavailable.
        """
        doors = await self._sales.doors([sale_id])
        if not doors:
            raise SaleNotFound
        (door,) = doors
        if principal.role != "admin" and principal.account_id != door.merchant_id:
            raise Forbidden("only the merchant of the sale or an admin may do that")
        now_ms = self._platform.clock.now_ms()
        if door.guarded != enabled and now_ms >= door.opens_ms:
            raise SaleStarted
        none = dict.fromkeys(
            ("arrivals", "places", "lot", "released", "used", "used_counted", "expired", "rate", "flow", "used_flow"), 0
        )
        room = Room(
            sale_id=sale_id,
            merchant_id=door.merchant_id,
            enabled=enabled,
            title=door.title,
            opens_ms=door.opens_ms,
            closes_ms=door.closes_ms,
            seed=self._new_seed(),
            version=1,
            drawn_ms=None,
            ticked_ms=now_ms,
            credit=0,
            releaser="",
            lease_until_ms=0,
            **none,
        )

        def work(tx: Tx) -> None:
            if enabled:
                store.insert_room(tx, room)
            for found in store.lock_rooms(tx, [sale_id]):
                if found.enabled != enabled:
                    store.update_room(tx, found, enabled=enabled)

        await self._database.write(work)
        try:
            await self._sales.guard(sale_id, guarded=enabled)
        except SaleStarted:
            await self._database.write(lambda tx: _take_back(tx, sale_id, enabled=not enabled))
            raise
        self._platform.wakeups.wake(NAME)
        return await self._known.fresh(sale_id) if enabled else room

    async def room(self, sale_id: int) -> Room:
        """Raises RoomNotFound, Unavailable."""
        room = await self._known.room(sale_id)
        if not room.enabled:
            raise RoomNotFound
        return room

    async def join(self, principal: Principal, sale_id: int, deadline: Deadline | None = None) -> Standing:
        """A ticket, durable when this returns; the same one however often a customer asks.

        Raises Forbidden, RoomNotFound, RoomClosed, RoomFull, Overloaded, Unavailable, OutcomeUnknown.
        """
        if principal.role != "customer":
            raise Forbidden("tickets are for customers")
        room = await self.room(sale_id)
        arrival = Arrival(sale_id, principal.account_id, self._platform.clock.now_ms())
        ticket = await self._arrivals.submit(arrival, deadline or Deadline.after(ARRIVAL_WAIT_S))
        return self._standing(room, ticket)

    async def _commit(self, arrivals: Sequence[Arrival]) -> Sequence[Ticket | ShopError]:
        return await self._database.write(
            lambda tx: take_tickets(tx, arrivals, self._platform.clock, self._platform.ids.next)
        )

    async def mine(self, principal: Principal, sale_id: int) -> Standing:
        """How one's own ticket stands. Raises RoomNotFound, TicketNotFound, Unavailable."""
        room = await self.room(sale_id)
        return self._standing(room, await self._ticket(sale_id, principal.account_id))

    async def _ticket(self, sale_id: int, customer_id: int) -> Ticket:
        ticket = await self._database.read(lambda tx: store.find_ticket(tx, sale_id, customer_id))
        if ticket is None:
            raise TicketNotFound
        return ticket

    def _standing(self, room: Room, ticket: Ticket) -> Standing:
        now_ms = self._platform.clock.now_ms()
        admission = None
        still_good = ticket.state == "admitted" and ticket.expires_ms is not None and now_ms < ticket.expires_ms
        # A spent one, too: whoever repeats the winning claim under its key shows it again.
        if ticket.expires_ms is not None and (still_good or ticket.state == "used"):
            admission = self._keys.sign(
                Admission(ticket.sale_id, ticket.customer_id, ticket.ticket_id, ticket.expires_ms)
            )
        waits = ticket.state == "waiting" and ticket.place is not None
        ahead = ahead_of(room, ticket.place) - 1 if waits and ticket.place is not None else None
        pace = self._pace()
        expected = estimate(room, ticket, now_ms, pace.per_s, pace.per_s_max) if waits else None
        return Standing(room, ticket, None if ahead is None else max(0, ahead), expected, admission, now_ms)

    async def follower(self, principal: Principal, sale_id: int) -> Follow:
        """`await follow(cursor)` → how the ticket stands if its room has changed behind `cursor`, else None.

        Raises RoomNotFound, TicketNotFound, Unavailable. Of a ticket that waits only the room is read again.
        """
        await self.room(sale_id)
        ticket = await self._ticket(sale_id, principal.account_id)

        async def follow(cursor: int) -> Standing | None:
            nonlocal ticket
            room = await self._known.room(sale_id)
            if room.version <= cursor:
                return None
            if _may_have_moved(room, ticket):
                ticket = await self._ticket(sale_id, principal.account_id)
            return self._standing(room, ticket)

        return follow

    async def places(self, sale_id: int, after: int, limit: int) -> tuple[Room, Sequence[tuple[int, int]]]:
        """(place, ticket) behind `after`; nothing before the draw. Raises RoomNotFound, Unavailable."""
        room = await self.room(sale_id)
        if room.drawn_ms is None:
            return room, ()
        return room, await self._database.read(lambda tx: store.page_of_places(tx, sale_id, after, limit))

    def now_ms(self) -> int:
        return self._platform.clock.now_ms()

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        return await self._database.read(books.checks)

    async def close(self) -> None:
        await self._arrivals.close()


def _may_have_moved(room: Room, ticket: Ticket) -> bool:
    if ticket.place is None:
        return room.drawn_ms is not None
    return ticket.state == "admitted" or (ticket.state == "waiting" and ticket.place <= room.released)


def _take_back(tx: Tx, sale_id: int, *, enabled: bool) -> None:
    """The sale opened first: the room is what it was."""
    for room in store.lock_rooms(tx, [sale_id]):
        if room.enabled != enabled:
            store.update_room(tx, room, enabled=enabled)
