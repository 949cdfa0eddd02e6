"""What became of the act: figures, and what each of them has to be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from doorbuster.lab.stampede import Verification

HOLDS_MIN = 0.5
"""Goodput while things break, of that under the same crowd before..."""
CAPACITY_MIN = 0.3
"""...and of the capacity: on two cores the crowd itself, the refusals and the back room take their share of them."""
LOAD, GOODPUT = "door: more than it can carry", "door: goodput holds"
MEASURED = frozenset((LOAD, GOODPUT))
"""These two lines depend on the machine, and on who else uses it: told, but no part of the proof."""
Line = tuple[str, object, Sequence[str], bool]


class Crowd(Struct, frozen=True):
    """Rates per second. `capacity`: answers to the act's own mix on 64 connections without a pause, `capacity_good`
    those of them that people wanted and got within a second, and `capacity_good_after` that once more in the end.
    `calm`, `trouble`: the same under the crowd. `sent`: what really left the generator of `offered`."""

    capacity: float
    capacity_good: float
    capacity_good_after: float
    offered: float
    sent: float
    calm: float
    trouble: float
    p50_ms: float
    p99_ms: float
    refused: Mapping[str, int]
    not_sent: int
    unanswered: int

    @property
    def multiple(self) -> float:
        return self.sent / self.capacity if self.capacity else 0.0

    @property
    def reference(self) -> float:
        """The lower of before and after: others use the machine, too."""
        return min(self.capacity_good, self.capacity_good_after or self.capacity_good)

    @property
    def held(self) -> float:
        return self.trouble / self.calm if self.calm else 0.0

    @property
    def kept(self) -> float:
        return self.trouble / self.reference if self.reference else 0.0


class Bots(Struct, frozen=True):
    """`cheats`: claims without an admission of their own; `stolen`: those that were acknowledged. `let_in` by lot,
    which an honest lot exceeds `most` once in ten thousand sales. `limited`: answers 429 a second, before and after the
    limit was changed; `people_limited` after it, as a share of what people asked for and got."""

    accounts: int
    cheats: int
    stolen: int
    let_in: int
    claimed: int
    most: int
    limited_before: float
    limited_after: float
    people_limited: float

    @property
    def lot_ok(self) -> bool:
        return self.claimed <= self.let_in <= self.most

    @property
    def cheats_ok(self) -> bool:
        return self.cheats > 0 and self.stolen == 0

    @property
    def limit_ok(self) -> bool:
        return self.limited_after > self.limited_before


class Sold(Struct, frozen=True):
    """`paid`: orders of the sale that are paid in the end; `captures`: the provider's count of them."""

    units: int
    paid: int
    captures: int
    expired: int
    verified: Verification

    @property
    def ok(self) -> bool:
        return self.paid == self.units == self.captures and self.verified.ok


class Door(Struct, frozen=True):
    """`failed`: the names of the lines that do not hold."""

    ok: bool
    failed: Sequence[str]
    crowd: Crowd
    sold: Sold
    bots: Bots
    waiting_room: Sequence[str]
    """What is wrong with the draw and the order in which people were let in."""
    tickets: int
    released: int
    breaker_opened: int
    breaker_closed: bool
    flushed: int
    loaded_again: int
    payments_refused: Mapping[str, int]
    limit: int
    problems: Sequence[str]

    @classmethod
    def judged(cls, door: Door) -> Door:
        """With `failed` as its lines say, and `ok` if no line of the proof is among them."""
        failed = [name for name, _, _, good in lines_of(door) if not good]
        return replace(door, ok=MEASURED.issuperset(failed), failed=failed)


def lines_of(door: Door) -> Sequence[Line]:
    crowd, sold, bots = door.crowd, door.sold, door.bots
    verified = sold.verified
    load = f"{crowd.offered:.0f}/s offered, {crowd.sent:.0f}/s could be sent: {crowd.multiple:.1f} × capacity"
    rates = f"{crowd.calm:.0f} → {crowd.trouble:.0f}/s while things broke: {crowd.held:.0%} (at least {HOLDS_MIN:.0%})"
    alone = f"{crowd.kept:.0%} of {crowd.reference:.0f}/s at capacity (at least {CAPACITY_MIN:.0%})"
    lot = f"{bots.let_in} of {bots.accounts} accounts let in, {bots.most} at most; {bots.claimed} claimed"
    cheats = f"{bots.cheats} tries (none, forged, borrowed, used), {bots.stolen} claims"
    again = "closed again" if door.breaker_closed else "not closed"
    breaker = f"opened {door.breaker_opened} times, {again}; {sum(door.payments_refused.values())} tries to pay refused"
    limited = f"{bots.limited_before:.0f} → {bots.limited_after:.0f} bots' requests refused per second"
    order = f"{door.released} of {door.tickets} let in; the lot checked with its seed"
    copies = f"{door.flushed} copies forgotten, {door.loaded_again} read again"
    problems = (*door.problems, *verified.problems)
    return (
        ("door: units sold and paid", f"{sold.paid} of {sold.units}", problems, sold.ok and not door.problems),
        ("door: oversold, claims lost", f"{verified.oversold}, {verified.lost}", (), verified.ok),
        (LOAD, load, (), crowd.multiple >= 1),
        (GOODPUT, f"{rates}, {alone}", (), crowd.held >= HOLDS_MIN and crowd.kept >= CAPACITY_MIN),
        ("door: let in by place, by lot", order, door.waiting_room, not door.waiting_room),
        ("door: no claim without an admission", cheats, (), bots.cheats_ok),
        ("door: bots get what chance gives", lot, (), bots.lot_ok),
        ("door: a limit changed", limited, (), bots.limit_ok),
        ("door: the payments' breaker", breaker, (), door.breaker_opened > 0 and door.breaker_closed),
        ("door: the cache flushed", copies, (), door.flushed > 0 and door.loaded_again > 0),
    )
