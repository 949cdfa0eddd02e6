"""Decisions of the waiting room. Pure: time, seeds and rates come in as arguments."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from doorbuster.contracts.flash_sale import SaleDoor
from doorbuster.contracts.waiting_room import TicketState

TICKETS_MAX = 100_000
"""People of one room. The draw is one transaction: for so many it takes 2 to 5 s on two busy cores (`doorbuster bench
draw`), and a PostgreSQL whose limit for a statement (10 s) it exceeds would undo it again and again."""
DRAW_AFTER_MS = 1_000
"""The draw waits so long after the opening for arrivals that came before it and are on their way to the database."""
ELAPSED_MAX_S = 2.0
"""What was not released during a longer stop is not made up for: the claim path would get it all at once."""
REST_S = 0.5
"""What counts of a time in which nobody waited, or nobody might be let in: a tick's length."""
SLOWED, RAISED = 0.7, 1.1
"""By what the rate changes per second: quickly down, slowly up."""
CARRIED_SHARE = 0.5
"""The rate is raised only if at least this share of it came through the claim path lately."""
FLOW_S = 10.0
"""The time constant of the measured flows."""


class Room(Struct, frozen=True):
    """A waiting room as it stands. Places 1 to `released` have been let in; `version` grows with every change.

    Rates and `credit` (people owed from the last tick) are in thousandths.
    """

    sale_id: int
    merchant_id: int
    enabled: bool
    title: str
    opens_ms: int
    closes_ms: int
    seed: bytes
    version: int
    arrivals: int
    places: int
    lot: int
    released: int
    used: int
    used_counted: int
    expired: int
    drawn_ms: int | None
    ticked_ms: int
    rate: int
    flow: int
    used_flow: int
    credit: int
    releaser: str
    lease_until_ms: int
    flow_high: int = 0
    flow_low: int = 0
    """The fastest and the slowest flow of the last minute or so, in thousandths as well."""

    @property
    def seed_hash(self) -> str:
        """Published before the draw; the seed itself after it."""
        return hashlib.sha256(self.seed).hexdigest()


class Ticket(Struct, frozen=True):
    """`number` counts arrivals; `place` is what counts, and is unknown until the draw."""

    ticket_id: int
    sale_id: int
    customer_id: int
    number: int
    place: int | None
    state: TicketState
    arrived_ms: int
    admitted_ms: int | None
    expires_ms: int | None


class Seen(Struct, frozen=True):
    """A room as a tick sees it before it locks anything. `ended`: an admission has, and is not marked yet."""

    room: Room
    ended: bool


def has_work(seen: Seen, door: SaleDoor, now_ms: int) -> bool:
    """Whether a tick would change anything. A room without work is only read."""
    room = seen.room
    if (room.opens_ms, room.closes_ms) != (door.opens_ms, door.closes_ms) or room.enabled != door.guarded:
        return True
    if room.drawn_ms is None:
        return is_due_to_be_drawn(room, now_ms)
    if seen.ended or room.used != room.used_counted:
        return True
    # While nobody may be let in, the measured flow dies away; then there is nothing more to note.
    return room.places > room.released and (room.flow > 0 or lets_in(room, door, now_ms))


def is_due_to_be_drawn(room: Room, now_ms: int) -> bool:
    return room.enabled and room.drawn_ms is None and now_ms >= room.opens_ms + DRAW_AFTER_MS


def lets_in(room: Room, door: SaleDoor, now_ms: int) -> bool:
    return room.enabled and door.opens_ms <= now_ms < door.closes_ms and door.units_left > 0


def draw_number(seed: bytes, ticket_id: int) -> bytes:
    """What a ticket draws. Nobody can know it without the seed, everybody can check it with it."""
    return hmac.digest(seed, str(ticket_id).encode(), "sha256")


def drawn_order(seed: bytes, arrived: Sequence[tuple[int, int, int]], opens_ms: int) -> tuple[list[int], int]:
    """Ticket ids by place, and how many of them by lot, of (ticket, number, arrived) of everybody.

    Whoever came before the opening is drawn by lot; behind them stand the others, in order of arrival.
    """
    lot = _by_draw(seed, (ticket_id for ticket_id, _, arrived_ms in arrived if arrived_ms < opens_ms))
    late = sorted((number, ticket_id) for ticket_id, number, arrived_ms in arrived if arrived_ms >= opens_ms)
    return [*lot, *(ticket_id for _, ticket_id in late)], len(lot)


def _by_draw(seed: bytes, ticket_ids: Iterable[int]) -> list[int]:
    """In shares by the first byte: a single sort of 100,000 keeps every other thread waiting for 0.2 s."""
    shares: list[list[tuple[bytes, int]]] = [[] for _ in range(256)]
    for ticket_id in ticket_ids:
        number = draw_number(seed, ticket_id)
        shares[number[0]].append((number, ticket_id))
    for share in shares:
        share.sort()
    return [ticket_id for share in shares for _, ticket_id in share]


def next_rate(
    rate: float, used_per_s: float, wait_ms: float, elapsed_s: float, bounds: tuple[float, float, int]
) -> float:
    """People a second from now on: down while claims wait too long, up while what was let in comes through well.

    `bounds`: least and greatest rate, and the wait that is too long.
    """
    least, greatest, wait_target_ms = bounds
    if wait_ms > wait_target_ms:
        rate *= SLOWED**elapsed_s
    elif used_per_s >= rate * CARRIED_SHARE:
        rate *= RAISED**elapsed_s
    return min(max(rate, least), greatest)


def smoothed(flow: float, measured: float, elapsed_s: float, over_s: float = FLOW_S) -> float:
    """An exponential mean whose weights are of time, however irregular the ticks."""
    return measured + (flow - measured) * math.exp(-elapsed_s / over_s)


def release_count(rate: float, credit: float, elapsed_s: float, free: int, waiting: int) -> tuple[int, float]:
    """How many are let in now, and the fraction that is owed. What cannot be used is not saved up."""
    owed = credit + rate * elapsed_s
    count = max(0, min(int(owed), free, waiting))
    return count, min(owed - count, 1.0) if count < int(owed) else owed - count


def ahead_of(room: Room, place: int) -> int:
    return max(0, place - room.released)
