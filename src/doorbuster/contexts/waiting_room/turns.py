"""What one tick comes to for a room that is drawn: how many are let in, and what was measured. Pure."""

from __future__ import annotations

from doorbuster.contexts.waiting_room.model import ELAPSED_MAX_S, REST_S, Room, next_rate, release_count, smoothed
from doorbuster.contexts.waiting_room.pacing import RoomSettings

MARKS_S = 60.0
"""How slowly the marks of the fastest and the slowest flow come back to the flow."""


def turn(room: Room, settings: RoomSettings, wait_ms: float, free: int, now_ms: int) -> tuple[int, dict[str, int]]:
    """How many are let in, and what changes in the room but for them. `free`: how many admissions may be given now;
    `wait_ms`: how long claims wait. Nothing is measured if no time has passed."""
    passed_s = max(0, now_ms - room.ticked_ms) / 1000
    # Nobody was let in for so long that the flow has died away: the room was at rest, and no process stood still.
    elapsed_s = min(passed_s, REST_S if room.flow == 0 else ELAPSED_MAX_S)
    used_per_s = smoothed(room.used_flow / 1000, (room.used - room.used_counted) / max(passed_s, 0.001), passed_s)
    bounds = (settings.per_s_min, settings.per_s_max, settings.wait_target_ms)
    rate = settings.per_s or next_rate(room.rate / 1000, used_per_s, wait_ms, elapsed_s, bounds)
    waiting = room.places - room.released
    count, credit = release_count(rate, room.credit / 1000, elapsed_s, free, waiting)
    if elapsed_s <= 0:
        return count, {}
    if waiting > count:
        flow = smoothed(room.flow / 1000, count / elapsed_s, elapsed_s)
        high = max(flow, smoothed(room.flow_high / 1000, flow, elapsed_s, MARKS_S))
        low = min(flow, smoothed(room.flow_low / 1000, flow, elapsed_s, MARKS_S))
    else:  # an empty room says nothing about how fast one would be let in
        flow = high = low = rate
    return count, {
        "ticked_ms": now_ms,
        "rate": int(rate * 1000),
        "credit": int(credit * 1000),
        "flow": int(flow * 1000),
        "flow_high": int(high * 1000),
        "flow_low": int(low * 1000),
        "used_flow": int(used_per_s * 1000),
        "used_counted": room.used,
    }


def first_turn(settings: RoomSettings, now_ms: int) -> dict[str, int]:
    """The same at the draw."""
    start = int((settings.per_s or settings.per_s_start) * 1000)
    return {"ticked_ms": now_ms, "rate": start, "flow": start, "flow_high": start, "flow_low": start}
