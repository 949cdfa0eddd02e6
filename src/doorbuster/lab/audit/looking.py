"""Looking at facts of one context against those of another, on a live system, without false alarms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from msgspec import Struct

from doorbuster.contracts.audit import BREACHES_SHOWN, FACTS_PAGE, Check
from doorbuster.platform.bus.progress import Flow

SUSPECTS_MAX = 10_000
CATCH_UP_S = 15.0
STANDS_STILL_S = 6.0
"""Longer than a relay pauses when a database is away."""
LOOKS_MAX = 3
"""How often a suspect is looked at again while it keeps moving."""

F = TypeVar("F", bound=Struct)


class _Tally:
    """Counts facts, keeps the suspects among them, and looks again."""

    def __init__(self) -> None:
        self.seen = 0
        self.suspects: dict[int, str] = {}
        """What is wrong with each, in words."""
        self.overflowed = False

    def suspect(self, fact_id: int, words: str) -> None:
        if len(self.suspects) < SUSPECTS_MAX:
            self.suspects[fact_id] = words
        else:
            self.overflowed = True


async def check_facts(
    name: str,
    what: str,
    pages: AsyncIterator[Sequence[F]],
    wrong: Callable[[Sequence[F]], Awaitable[dict[int, str]]],
    facts_of: Callable[[Sequence[int]], Awaitable[Sequence[F]]],
    flows: Sequence[Flow],
) -> Check:
    """Goes through all pages, then looks again at the suspects once `flows` have caught up, one after the other.

    A breach is what is wrong in the same words before and after: whatever was under way then has arrived. What is
    wrong in other words has moved in between and is looked at again.
    """
    tally = _Tally()
    async for page in pages:
        tally.seen += len(page)
        for fact_id, words in (await wrong(page)).items():
            tally.suspect(fact_id, words)
    suspects = tally.suspects
    if not suspects:
        return Check(name, "holds", f"{tally.seen} {what}")
    for _ in range(LOOKS_MAX):
        settled = True
        for flow in flows:
            settled = await flow.caught_up(await flow.end(), CATCH_UP_S) and settled
        before, suspects = suspects, await _wrong_again(list(suspects), facts_of, wrong)
        breaches = [words for fact_id, words in suspects.items() if words == before[fact_id]]
        if not suspects:
            return Check(name, "holds", f"{tally.seen} {what}, {len(tally.suspects)} were under way")
        if not settled:
            break
        if breaches:
            more = " at least" if tally.overflowed else ""
            detail = f"{len(breaches)}{more} of {tally.seen} {what}"
            return Check(name, "broken", detail, tuple(breaches[:BREACHES_SHOWN]))
    still = [flow.consumer.name for flow in flows if await flow.stands_still(STANDS_STILL_S)]
    if still:
        words = [f"the consumer {consumer} stands still: is a server running?" for consumer in still]
        return Check(name, "broken", f"{len(suspects)} of {tally.seen} {what} wait", tuple(words))
    return Check(name, "in flight", f"{len(suspects)} of {tally.seen} {what} are still under way")


async def _wrong_again(
    suspects: Sequence[int],
    facts_of: Callable[[Sequence[int]], Awaitable[Sequence[F]]],
    wrong: Callable[[Sequence[F]], Awaitable[dict[int, str]]],
) -> dict[int, str]:
    """What is wrong with those of the suspects that are wrong still."""
    found: dict[int, str] = {}
    for start in range(0, len(suspects), FACTS_PAGE):
        found |= await wrong(await facts_of(suspects[start : start + FACTS_PAGE]))
    return found
