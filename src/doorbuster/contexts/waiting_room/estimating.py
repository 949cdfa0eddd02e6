"""How long it will take until it is somebody's turn: a range while the pace is being found or swings, else a number.
Pure.

From what has been measured: the fastest and the slowest flow of the last minute. While the pace still rises, the end of
that is not known; then the near end of the range is what it may come to at most.
"""

from __future__ import annotations

import math

from msgspec import Struct

from doorbuster.contexts.waiting_room.model import RAISED, Room, Ticket, ahead_of

SEARCH_MS = 30_000
"""So long after the draw nothing is known of what the claim path carries."""
AT_ITS_BEST, HAS_RISEN = 0.95, 1.1
"""The pace rises if the flow is as fast as it ever was in the last minute, and so much faster than at its slowest."""
GROWTH_PER_S = math.log(RAISED)


class Estimate(Struct, frozen=True):
    """Seconds. `s`, in the middle by proportion, is `from_s` and `to_s` where the pace has settled.

    `to_s` is None if nobody was let in lately.
    """

    s: int
    from_s: int
    to_s: int | None


def estimate(room: Room, ticket: Ticket, now_ms: int, fixed: float | None, per_s_max: float) -> Estimate | None:
    """None if nobody can say. `fixed`: the pace, if it is not to be found."""
    if ticket.place is None or room.drawn_ms is None or room.flow <= 0:
        return None
    ahead = ahead_of(room, ticket.place)
    flow, high = room.flow / 1000, max(room.flow, room.flow_high) / 1000
    low = min(room.flow, room.flow_low) / 1000
    is_new = now_ms - room.drawn_ms < SEARCH_MS
    rises = fixed is None and (is_new or (flow >= AT_ITS_BEST * high and flow > HAS_RISEN * low))
    from_s = _while_rising(ahead, max(flow, room.rate / 1000), per_s_max) if rises else ahead / high
    to_s = ahead / low if low > 0 else None
    likely_s = ahead / flow if to_s is None else math.sqrt(from_s * to_s)
    since_tick_s = min(1.0, max(0, now_ms - room.ticked_ms) / 1000)
    return Estimate(
        _seconds(likely_s - since_tick_s),
        _seconds(from_s - since_tick_s),
        None if to_s is None else _seconds(to_s - since_tick_s),
    )


def _while_rising(ahead: int, per_s: float, per_s_max: float) -> float:
    """Seconds for `ahead` people at a pace that grows as fast as it may until it is `per_s_max`."""
    if per_s >= per_s_max:
        return ahead / per_s
    rising_s = math.log(per_s_max / per_s) / GROWTH_PER_S
    meanwhile = (per_s_max - per_s) / GROWTH_PER_S
    if ahead <= meanwhile:
        return math.log1p(ahead * GROWTH_PER_S / per_s) / GROWTH_PER_S
    return rising_s + (ahead - meanwhile) / per_s_max


def _seconds(exact: float) -> int:
    return max(0, math.ceil(exact))
