"""Arrivals: whoever comes while a commit is running forms the next batch. One ticket per customer and sale."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.model import REST_S, TICKETS_MAX, Ticket
from doorbuster.contracts.waiting_room import RoomClosed, RoomFull, RoomNotFound
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Overloaded, ShopError
from doorbuster.platform.sql.database import Tx

ARRIVAL_WAIT_MS = 1_000
"""How long an arrival waits for its commit at most; the draw waits as long after the opening."""


class Arrival(Struct, frozen=True):
    sale_id: int
    customer_id: int
    arrived_ms: int


def take_tickets(
    tx: Tx, arrivals: Sequence[Arrival], clock: Clock, next_id: Callable[[int], int]
) -> Sequence[Ticket | ShopError]:
    """Tickets in the order of arrivals; whoever has one gets it again.

    The clock is read behind the rooms' locks: whoever has waited longer than ARRIVAL_WAIT_MS for them is asked to come
    again. So nobody stands before somebody who came a second earlier, through whatever process, and whoever came before
    the opening is in the draw.
    """
    rooms = {room.sale_id: room for room in store.lock_rooms(tx, sorted({each.sale_id for each in arrivals}))}
    now_ms = clock.now_ms()
    held = store.tickets_of(tx, list({(each.sale_id, each.customer_id) for each in arrivals}))
    outcomes: list[Ticket | ShopError] = []
    new: list[Ticket] = []
    counted = {sale_id: (room.arrivals, room.places) for sale_id, room in rooms.items()}
    for each in arrivals:
        pair = (each.sale_id, each.customer_id)
        room = rooms.get(each.sale_id)
        if pair in held:
            outcomes.append(held[pair])
        elif room is None or not room.enabled:
            outcomes.append(RoomNotFound())
        elif each.arrived_ms >= room.closes_ms:
            outcomes.append(RoomClosed())
        elif now_ms - each.arrived_ms > ARRIVAL_WAIT_MS:
            outcomes.append(Overloaded("the waiting room could not write this ticket in time"))
        elif counted[each.sale_id][0] >= TICKETS_MAX:
            outcomes.append(RoomFull(limit=TICKETS_MAX))
        else:
            number, places = counted[each.sale_id]
            place = None if room.drawn_ms is None else places + 1
            counted[each.sale_id] = (number + 1, places if place is None else place)
            ticket_id = next_id(each.customer_id)
            ticket = Ticket(ticket_id, *pair, number + 1, place, "waiting", each.arrived_ms, None, None)
            held[pair] = ticket
            new.append(ticket)
            outcomes.append(ticket)
    store.insert_tickets(tx, new)
    for sale_id in sorted({ticket.sale_id for ticket in new}):
        number, places = counted[sale_id]
        store.count_arrivals(tx, sale_id, number, places)
        room, rested_ms = rooms[sale_id], now_ms - int(REST_S * 1000)
        if room.drawn_ms is not None and room.places == room.released and room.ticked_ms < rested_ms:
            store.note(tx, room, ticked_ms=rested_ms)  # nobody waited: that time lets nobody in
    return outcomes
