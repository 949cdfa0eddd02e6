"""A day of a provider's statement against a day of our ledger, line by line: what matches, why what does not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from msgspec import Struct

from doorbuster.contexts.payments.model import CAPTURABLE, EntryKind, PaymentStatus, RefundStatus
from doorbuster.contexts.payments.provider import Period, StatementLine
from doorbuster.kernel.clock import Instant

IN_FLIGHT_MS = 60_000
"""A movement that young may be on its way from one side to the other."""

DifferenceKind = Literal["missing-here", "missing-there", "amount", "twice", "timing"]


class LedgerLine(Struct, frozen=True):
    """The provider's side of a posting; `amount` is positive both ways. `refund_id` is 0 for a capture."""

    kind: EntryKind
    payment_id: int
    refund_id: int
    amount: int
    currency: str
    at_ms: Instant

    @property
    def movement(self) -> Movement:
        return (self.kind, str(self.refund_id if self.kind == "refund" else self.payment_id))


Movement = tuple[EntryKind, str]
"""What a movement is known by: the payment of a capture, the refund of a refund."""


class Difference(Struct, frozen=True):
    """`theirs` and `ours` are minor units, None on the side without the movement."""

    kind: DifferenceKind
    movement: EntryKind
    payment_id: str
    refund_id: str | None
    theirs: int | None
    ours: int | None
    currency: str
    explained: bool
    words: str


class Standing(Struct, frozen=True):
    """How far payments and refunds have come here, for what the ledger does not have. Keys are ids."""

    payments: Mapping[str, PaymentStatus]
    refunds: Mapping[str, RefundStatus]


class Reconciliation(Struct, frozen=True):
    """What came of a comparison. `differences` holds SHOWN_MAX at most, the unexplained ones first."""

    id: int
    provider: str
    from_ms: Instant
    until_ms: Instant
    made_ms: Instant
    statement_lines: int
    ledger_lines: int
    matched: int
    explained: int
    unexplained: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        return self.unexplained == 0


def movement_of(line: StatementLine) -> Movement:
    return (line.kind, (line.refund_id or "") if line.kind == "refund" else line.payment_id)


class Matching(Struct, frozen=True):
    """`theirs` and `ours` of one period, and what lies around it on both sides, by movement."""

    period: Period
    theirs: list[StatementLine]
    ours: list[LedgerLine]
    theirs_around: dict[Movement, StatementLine]
    ours_around: dict[Movement, LedgerLine]


def unmatched(theirs: Iterable[StatementLine], ours: Iterable[LedgerLine]) -> tuple[list[Movement], list[Movement]]:
    """(only there, only here)"""
    there, here = {movement_of(line) for line in theirs}, {line.movement for line in ours}
    return sorted(there - here), sorted(here - there)


def compare(matching: Matching, standing: Standing, now_ms: Instant) -> tuple[int, list[Difference]]:
    """How many lines are simply the same on both sides, and every other one, the statement's first."""
    found: list[Difference] = []
    here, seen = {line.movement: line for line in matching.ours}, set[Movement]()
    for line in matching.theirs:
        movement = movement_of(line)
        if movement in seen:
            found.append(_there(line, "twice", None, False, f"the provider made this {line.kind} twice"))
            continue
        seen.add(movement)
        ours = here.get(movement)
        around = ours or matching.ours_around.get(movement)
        if around is None:
            found.append(_missing_here(line, standing, now_ms))
        elif (around.amount, around.currency) != (line.amount, line.currency):
            words = f"{line.amount} {line.currency} there, {around.amount} {around.currency} here"
            found.append(_there(line, "amount", around.amount, False, words))
        elif ours is None:
            found.append(_there(line, "timing", around.amount, True, "posted here on another day"))
    matched = len(matching.theirs) - len(found)
    found += [
        _not_on_this_day(line, matching.theirs_around.get(line.movement), now_ms)
        for line in matching.ours
        if line.movement not in seen
    ]
    return matched, found


def _missing_here(line: StatementLine, standing: Standing, now_ms: Instant) -> Difference:
    if line.kind == "refund":
        refund = standing.refunds.get(line.refund_id or "")
        if refund == "requested":
            return _there(line, "missing-here", None, True, "in flight: requested here, its answer is on its way")
        words = "nobody here asked for this refund" if refund is None else f"the refund is {refund} here, not posted"
        return _there(line, "missing-here", None, False, words)
    payment = standing.payments.get(line.payment_id)
    if payment is None:
        return _there(line, "missing-here", None, False, "no payment of ours has this id")
    if payment in CAPTURABLE:
        return _there(line, "missing-here", None, True, f"in flight: {payment} here, a sweep will ask for it")
    if now_ms - line.at_ms < IN_FLIGHT_MS:
        return _there(line, "missing-here", None, True, "in flight: captured a moment ago")
    return _there(line, "missing-here", None, False, f"captured there, {payment} here")


def _not_on_this_day(ours: LedgerLine, theirs: StatementLine | None, now_ms: Instant) -> Difference:
    refund_id = str(ours.refund_id) if ours.kind == "refund" else None

    def difference(kind: DifferenceKind, explained: bool, words: str) -> Difference:
        there = None if theirs is None else theirs.amount
        ids = (str(ours.payment_id), refund_id)
        return Difference(kind, ours.kind, *ids, there, ours.amount, ours.currency, explained, words)

    if theirs is None:
        if now_ms - ours.at_ms < IN_FLIGHT_MS:
            return difference("missing-there", True, "in flight: posted a moment ago")
        return difference("missing-there", False, f"posted here, the provider made no such {ours.kind}")
    if (theirs.amount, theirs.currency) != (ours.amount, ours.currency):
        words = f"{theirs.amount} {theirs.currency} there, {ours.amount} {ours.currency} here"
        return difference("amount", False, words)
    return difference("timing", True, "made there on another day")


def _there(line: StatementLine, kind: DifferenceKind, ours: int | None, explained: bool, words: str) -> Difference:
    return Difference(
        kind,
        line.kind,
        line.payment_id,
        line.refund_id,
        line.amount,
        ours,
        line.currency,
        explained,
        words,
    )
