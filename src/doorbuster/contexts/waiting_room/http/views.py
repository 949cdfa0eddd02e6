"""What the waiting room shows."""

from __future__ import annotations

from msgspec import Struct

from doorbuster.contexts.waiting_room.model import Room
from doorbuster.contexts.waiting_room.outages import Outage
from doorbuster.contexts.waiting_room.service import Standing
from doorbuster.contracts.waiting_room import TicketState
from doorbuster.kernel.clock import rfc3339
from doorbuster.platform.http.faces import IdText, TimeText


class RoomBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the sale is entered through a waiting room."""

    enabled: bool


class WaitingRoomView(Struct, frozen=True):
    """`seed_hash` is the SHA-256 of the seed that the lot is drawn with; `seed` is told once it is drawn."""

    sale_id: IdText
    enabled: bool
    title: str
    opens_at: TimeText
    closes_at: TimeText
    arrivals: int
    released: int
    seed_hash: str
    seed: str | None
    server_time: TimeText

    @classmethod
    def of(cls, room: Room, now_ms: int) -> WaitingRoomView:
        return cls(
            str(room.sale_id),
            room.enabled,
            room.title,
            rfc3339(room.opens_ms),
            rfc3339(room.closes_ms),
            room.arrivals,
            room.released,
            room.seed_hash,
            None if room.drawn_ms is None else room.seed.hex(),
            rfc3339(now_ms),
        )


class TicketView(Struct, frozen=True):
    """`place` is known once the lot is drawn; `ahead` and `estimate_s` say what is before it. `estimate_from_s` and
    `estimate_to_s` differ from it while the pace is still being found or swings; they are null if nobody can say.

    When `admission` is there, claim with it as the header `Doorbuster-Admission` until `admitted_until`.
    """

    ticket_id: IdText
    sale_id: IdText
    state: TicketState
    place: int | None
    ahead: int | None
    estimate_s: int | None
    estimate_from_s: int | None
    estimate_to_s: int | None
    opens_at: TimeText
    opens_in_s: int
    admission: str | None
    admitted_until: TimeText | None
    server_time: TimeText

    @classmethod
    def of(cls, standing: Standing) -> TicketView:
        ticket, room, now_ms = standing.ticket, standing.room, standing.now_ms
        estimate = standing.estimate
        return cls(
            str(ticket.ticket_id),
            str(ticket.sale_id),
            ticket.state,
            ticket.place,
            standing.ahead,
            None if estimate is None else estimate.s,
            None if estimate is None else estimate.from_s,
            None if estimate is None else estimate.to_s,
            rfc3339(room.opens_ms),
            max(0, -((now_ms - room.opens_ms) // 1000)),
            standing.admission,
            None if ticket.expires_ms is None else rfc3339(ticket.expires_ms),
            rfc3339(now_ms),
        )


class PlaceView(Struct, frozen=True):
    """`by_lot`: the place was drawn, in the order of HMAC-SHA256(seed, ticket_id)."""

    place: int
    ticket_id: IdText
    by_lot: bool


class DrawView(Struct, frozen=True):
    seed_hash: str
    seed: str | None
    items: list[PlaceView]
    next_cursor: str | None


class FailingRoomView(Struct, frozen=True):
    """`failures`: attempts in a row that failed, since `since`; `error`: what the newest failed with."""

    sale_id: IdText
    since: TimeText
    failures: int
    error: str

    @classmethod
    def of(cls, outage: Outage) -> FailingRoomView:
        return cls(str(outage.sale_id), rfc3339(outage.since_ms), outage.failures, outage.error)


class FailingRoomsView(Struct, frozen=True):
    failing: list[FailingRoomView]
