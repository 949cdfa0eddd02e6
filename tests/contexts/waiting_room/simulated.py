"""A room on a simulated clock, moved by the releaser's own decisions, before a claim path of a given capacity."""

from __future__ import annotations

import heapq
import random
from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

from doorbuster.contexts.waiting_room.estimating import Estimate, estimate
from doorbuster.contexts.waiting_room.model import Room, Ticket
from doorbuster.contexts.waiting_room.pacing import RoomSettings
from doorbuster.contexts.waiting_room.turns import first_turn, turn

TICK_MS = 500
OPENS_MS = 1_000_000
LATE_FOR_MS = 60_000
CLAIMS_AFTER_MS = (1_000, 6_000)
CLAIM_MS = 5.0
"""What a claim takes when none waits."""
WAITS_MIN_S = 10.0
"""Of shorter waits two ticks are a tenth."""
ASKED_EVERY = 13


class Crowd(Struct, frozen=True):
    """`lot` people are drawn, `late` come evenly in the minute after; `never`: the share that lets its turn pass."""

    lot: int
    late: int
    capacity: int
    never: float
    settings: RoomSettings = RoomSettings()


class Shares(Struct, frozen=True):
    """Of people: whose wait was within a fifth of what they were told, or within the range, widened by a fifth."""

    within_a_fifth: float
    within_the_range: float


class Wait(Struct, frozen=True):
    joined_ms: int
    let_in_ms: int


class Story(Struct, frozen=True):
    rooms: list[Room]
    """As each tick left it."""
    waits: list[Wait]
    """By place."""
    settings: RoomSettings

    def shares(self, part: float) -> Shares:
        """Of what people were told when so much of their wait was over: 0 at joining, 0.5 at half-way."""
        times = [room.ticked_ms for room in self.rooms]
        fifth = in_range = asked = 0
        for place, wait in list(enumerate(self.waits, 1))[::ASKED_EVERY]:
            if wait.let_in_ms - wait.joined_ms < WAITS_MIN_S * 1000:
                continue
            now_ms = wait.joined_ms + int((wait.let_in_ms - wait.joined_ms) * part)
            told = self._told(place, now_ms, self.rooms[bisect_right(times, now_ms) - 1])
            left_s = (wait.let_in_ms - now_ms) / 1000
            asked += 1
            fifth += told is not None and abs(told.s - left_s) <= 0.2 * left_s
            in_range += told is not None and told.from_s * 0.8 <= left_s <= (told.to_s or left_s) * 1.2
        assert asked > 100
        return Shares(round(fifth / asked, 2), round(in_range / asked, 2))

    def _told(self, place: int, now_ms: int, room: Room) -> Estimate | None:
        ticket = Ticket(place, 1, place, place, place, "waiting", OPENS_MS - 1, None, None)
        return estimate(room, ticket, now_ms, self.settings.per_s, self.settings.per_s_max)


def tell(crowd: Crowd, seed: int = 1) -> Story:
    """Until everybody was let in."""
    dice, settings, now_ms = random.Random(seed), crowd.settings, OPENS_MS + 1_000
    room = replace(EMPTY, places=crowd.lot, drawn_ms=now_ms, **first_turn(settings, now_ms))
    rooms, joined, let_in = [room], [now_ms] * crowd.lot, list[int]()
    ends: list[tuple[int, bool]] = []  # of admissions: when, and whether by a claim
    open_admissions, queue = 0, 0
    while len(let_in) < crowd.lot + crowd.late:
        now_ms += TICK_MS
        assert now_ms < OPENS_MS + 4 * 3_600_000
        come = min(crowd.late, crowd.late * (now_ms - OPENS_MS) // LATE_FOR_MS) + crowd.lot - len(joined)
        joined += [now_ms] * come
        while ends and ends[0][0] <= now_ms:
            queue += heapq.heappop(ends)[1]
            open_admissions -= 1
        claimed = min(queue, int(crowd.capacity * TICK_MS / 1000))
        queue -= claimed
        room = replace(room, places=len(joined), used=room.used + claimed)
        wait_ms = CLAIM_MS + queue / crowd.capacity * 1000
        count, measured = turn(room, settings, wait_ms, max(0, settings.unused_max - open_admissions), now_ms)
        for _ in range(count):
            claims = dice.random() >= crowd.never
            after_ms = dice.randint(*CLAIMS_AFTER_MS) if claims else settings.admitted_for_s * 1000 + 2_000
            heapq.heappush(ends, (now_ms + after_ms, claims))
        open_admissions += count
        let_in += [now_ms] * count
        room = replace(room, released=room.released + count, **measured)
        rooms.append(room)
    return Story(rooms, [Wait(*both) for both in zip(joined, let_in, strict=True)], settings)


EMPTY = Room(
    sale_id=1,
    merchant_id=1,
    enabled=True,
    title="",
    opens_ms=OPENS_MS,
    closes_ms=2 * OPENS_MS,
    seed=b"",
    version=1,
    arrivals=0,
    places=0,
    lot=0,
    released=0,
    used=0,
    used_counted=0,
    expired=0,
    drawn_ms=None,
    ticked_ms=0,
    rate=0,
    flow=0,
    used_flow=0,
    credit=0,
    releaser="",
    lease_until_ms=0,
)
