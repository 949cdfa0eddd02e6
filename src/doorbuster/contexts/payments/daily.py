"""The daily reconciliation: a provider's statement of one day against our ledger of that day, kept as rows."""

from __future__ import annotations

from collections.abc import Sequence

from doorbuster.contexts.payments.differences import (
    Difference,
    LedgerLine,
    Matching,
    Movement,
    Reconciliation,
    Standing,
    compare,
    unmatched,
)
from doorbuster.contexts.payments.provider import Period, Provider, StatementLine
from doorbuster.contexts.payments.store import reconciliations
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.payments import StatementTooLong
from doorbuster.kernel.clock import Instant
from doorbuster.platform.sql.database import Tx

DAY_MS = 24 * 3600 * 1000
STATEMENT_PAGE = 500
LEDGER_PAGE = 5_000
LINES_MAX = 2_000_000
"""Per provider and day; beyond that the day is refused rather than compared in part."""
SHOWN_MAX = 1_000
"""Differences that are kept and shown; all are counted."""


class Daily:
    """Compares, explains, and writes down."""

    def __init__(self, till: Till) -> None:
        self._till = till

    async def reconcile(self, day_ms: Instant | None = None) -> Sequence[Reconciliation]:
        """Every connected provider's day that begins at `day_ms` (UTC; None: yesterday). Raises Unavailable,
        StatementTooLong."""
        now_ms = self._till.clock.now_ms()
        begin_ms = now_ms // DAY_MS * DAY_MS - DAY_MS if day_ms is None else day_ms
        period = Period(begin_ms, begin_ms + DAY_MS)
        return [await self._reconcile(provider, period) for provider in self._till.providers.values()]

    async def _reconcile(self, provider: Provider, period: Period) -> Reconciliation:
        # Ours first: the provider moves money before we know of it, so whatever we have, it must have.
        ours = await self._ledger(provider.name, period)
        theirs = await self._statement(provider, period)
        only_there, only_here = unmatched(theirs, ours)
        ours_around = await self._till.database.read(
            lambda tx: reconciliations.ledger_of(tx, provider.name, only_there)
        )
        theirs_around: list[StatementLine] = []
        if only_here:
            # What is posted here on this day was made there on it, or on the day before; clocks may differ a little.
            around = Period(period.from_ms - DAY_MS, period.until_ms + DAY_MS)
            theirs_around = await self._statement(provider, around)
        matching = Matching(
            period,
            theirs,
            ours,
            {(line.kind, line.refund_id or line.payment_id): line for line in theirs_around},
            {line.movement: line for line in ours_around},
        )
        standing = await self._till.database.read(lambda tx: _standing(tx, only_there))
        matched, found = compare(matching, standing, self._till.clock.now_ms())
        return await self._keep(provider.name, matching, matched, found)

    async def _ledger(self, provider: str, period: Period) -> list[LedgerLine]:
        found: list[LedgerLine] = []
        after = 0
        while True:
            page, after = await self._till.database.read(
                lambda tx, after=after: reconciliations.ledger_page(tx, provider, period, after, LEDGER_PAGE)
            )
            found += page
            if len(page) < LEDGER_PAGE:
                return found
            if len(found) > LINES_MAX:
                raise StatementTooLong(lines_max=LINES_MAX)

    async def _statement(self, provider: Provider, period: Period) -> list[StatementLine]:
        found: list[StatementLine] = []
        after: str | None = None
        for _ in range(LINES_MAX):
            page = await provider.statement(after, STATEMENT_PAGE, period)
            found += [line for line in page.lines if period.from_ms <= line.at_ms < period.until_ms]
            after = page.next_after
            if after is None:
                return found
            if len(found) > LINES_MAX:
                break
        raise StatementTooLong(lines_max=LINES_MAX)

    async def _keep(self, provider: str, matching: Matching, matched: int, found: list[Difference]) -> Reconciliation:
        found.sort(key=lambda difference: difference.explained)
        explained = sum(difference.explained for difference in found)
        made = Reconciliation(
            self._till.ids.next(),
            provider,
            matching.period.from_ms,
            matching.period.until_ms,
            self._till.clock.now_ms(),
            len(matching.theirs),
            len(matching.ours),
            matched,
            explained,
            len(found) - explained,
            tuple(found[:SHOWN_MAX]),
        )
        await self._till.database.write(lambda tx: reconciliations.keep(tx, made))
        return made


def _standing(tx: Tx, only_there: Sequence[Movement]) -> Standing:
    return Standing(*reconciliations.standing(tx, only_there))
