"""Whether the waiting room was fair, from what it shows everybody: the draw, and each ticket."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

CHANCE_ONE_IN = 10_000
"""Once in so many sales would an honest lot favour the bots beyond the bound."""


class Drawn(Struct, frozen=True):
    """A page of the draw, all pages together: (place, ticket, by lot) in order of places."""

    seed_hash: str
    seed: str | None
    places: Sequence[tuple[int, str, bool]]


class Seen(Struct, frozen=True):
    """A ticket as its owner sees it in the end. `until`: when its admission ends, which tells when it was given."""

    place: int
    state: str
    until: str
    claimed: bool


def wrong_with_draw(drawn: Drawn) -> Sequence[str]:
    """Recomputes the lot from the seed."""
    if drawn.seed is None:
        return ["the seed was not told"]
    seed = bytes.fromhex(drawn.seed)
    wrong: list[str] = []
    if hashlib.sha256(seed).hexdigest() != drawn.seed_hash:
        wrong.append("the seed is not the one that was promised")
    if [place for place, _, _ in drawn.places] != list(range(1, len(drawn.places) + 1)):
        wrong.append("places have gaps")
    lot = [ticket for _, ticket, by_lot in drawn.places if by_lot]
    if lot != sorted(lot, key=lambda ticket: hmac.digest(seed, ticket.encode(), "sha256")):
        wrong.append("the order by lot is not that of the seed")
    return wrong


def wrong_with_order(tickets: Sequence[Seen], least: int, released: int) -> Sequence[str]:
    """Whoever was let in had the lower places, one after another; who claimed had been let in.

    `least` and `released`: how many had been let in before and after the tickets were looked at.
    """
    wrong: list[str] = []
    last = ""
    for seen in sorted(tickets, key=lambda seen: seen.place):
        waits = seen.state == "waiting"
        if (waits and seen.place <= least) or (not waits and seen.place > released):
            wrong.append(f"place {seen.place} is {seen.state}, {released} were let in")
        if seen.claimed != (seen.state == "used"):
            wrong.append(f"place {seen.place} is {seen.state}, but {'claimed' if seen.claimed else 'claimed nothing'}")
        if not waits:
            if seen.until < last:
                wrong.append(f"place {seen.place} was let in before a lower one")
            last = seen.until
    return wrong


def most_by_chance(lot: int, bots: int, let_in: int) -> int:
    """Of `lot` tickets `bots` are bots' and `let_in` are let in: how many bots an honest lot has among these at most,
    but once in CHANCE_ONE_IN times."""
    ways, tail = math.comb(lot, let_in), 0
    for number in range(min(bots, let_in), -1, -1):
        tail += math.comb(bots, number) * math.comb(lot - bots, let_in - number) if let_in - number <= lot - bots else 0
        if tail * CHANCE_ONE_IN > ways:
            return number
    return 0


def seen_of(ticket: Mapping[str, Any], *, claimed: bool) -> Seen:
    """Of GET …/tickets/mine."""
    return Seen(ticket["place"] or 0, ticket["state"], ticket["admitted_until"] or "", claimed)
