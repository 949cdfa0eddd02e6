"""Auditing: our books against themselves, and against the provider's statement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from doorbuster.contexts.payments.model import PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import Provider, StatementLine, StatementPage
from doorbuster.contexts.payments.statement import Comparison
from doorbuster.contexts.payments.store import books
from doorbuster.contexts.payments.store import payments as payment_rows
from doorbuster.contexts.payments.store import refunds as refund_rows
from doorbuster.contexts.payments.till import Till
from doorbuster.contracts.audit import Check, PaymentFact
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.money import Money
from doorbuster.platform.pools import Pipeline, Stage
from doorbuster.platform.sql.database import Tx

ROWS_PAGE = 5_000
STATEMENT_PAGE = 500
STATEMENT_PAGES_MAX = 20_000
"""Ten million lines; beyond that the check says so instead of running for ever."""


class Auditing:
    """Reads only. Each check is one short snapshot; the statement is read in pages."""

    def __init__(self, till: Till) -> None:
        self._till = till

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        own = await self._till.database.read(books.checks)
        theirs = [await self._against_statement(provider) for provider in self._till.providers.values()]
        return [*own, *theirs]

    async def captured_facts(self, after: int = 0) -> AsyncIterator[Sequence[PaymentFact]]:
        """See contracts.audit.AuditsPayments."""
        async for page in self._captured(after):
            yield [_fact(payment) for payment in page]

    async def captured_facts_of(self, payment_ids: Sequence[int]) -> Sequence[PaymentFact]:
        """See contracts.audit.AuditsPayments."""
        found = await self._till.database.read(lambda tx: payment_rows.captured_of(tx, payment_ids))
        return [_fact(payment) for payment in found]

    async def _captured(self, after: int = 0) -> AsyncIterator[list[PaymentRecord]]:
        while True:
            page = await self._till.database.read(
                lambda tx, after=after: payment_rows.captured_page(tx, after, ROWS_PAGE)
            )
            if page:
                yield page
                after = page[-1].id
            if len(page) < ROWS_PAGE:
                return

    async def _refunded(self, provider: str) -> AsyncIterator[list[int]]:
        after = 0
        while True:
            page = await self._till.database.read(
                lambda tx, after=after: refund_rows.succeeded_page(tx, provider, after, ROWS_PAGE)
            )
            if page:
                yield page
                after = page[-1]
            if len(page) < ROWS_PAGE:
                return

    async def _against_statement(self, provider: Provider) -> Check:
        """Ours are read first: the provider moves money before we know of it, so whatever we have, it must have.
        What it has beyond that may be on its way."""
        name = f"captures and refunds = statement of {provider.name}"
        comparison = Comparison(self._till.clock.now_ms())
        async for page in self._captured():
            comparison.captures.add(payment.id for payment in page if payment.provider == provider.name)
        async for refund_ids in self._refunded(provider.name):
            comparison.refunds.add(refund_ids)
        try:
            complete = await self._read_statement(provider, comparison)
        except Unavailable as away:
            return Check(name, "in flight", f"the statement cannot be read: {away.detail}")
        if not complete:
            return Check(name, "in flight", f"the statement has more than {STATEMENT_PAGES_MAX} pages")
        return comparison.check(name)

    async def _read_statement(self, provider: Provider, comparison: Comparison) -> bool:
        """False when it has too many pages. Raises Unavailable."""
        comparing = Pipeline.of(Stage(self._with_rows))  # the next page comes while this one's rows are read
        async with comparing.run(self._pages(provider)) as pages:
            async for page, payments, refunds in pages:
                for line in page.lines:
                    comparison.read(
                        line,
                        payments.get(_number(line.payment_id)),
                        refunds.get(_number(line.refund_id)),
                    )
                if page.next_after is None:
                    return True
        return False

    async def _pages(self, provider: Provider) -> AsyncIterator[StatementPage]:
        after: str | None = None
        for _ in range(STATEMENT_PAGES_MAX):
            page = await provider.statement(after, STATEMENT_PAGE)
            yield page
            after = page.next_after
            if after is None:
                return

    async def _with_rows(
        self, page: StatementPage
    ) -> tuple[StatementPage, dict[int, PaymentRecord], dict[int, RefundRecord]]:
        """Our rows of the ids that a page names, read after it."""
        return page, *await self._rows_of(page.lines)

    async def _rows_of(
        self, lines: Sequence[StatementLine]
    ) -> tuple[dict[int, PaymentRecord], dict[int, RefundRecord]]:
        payment_ids = sorted({_number(line.payment_id) for line in lines})
        refund_ids = sorted({_number(line.refund_id) for line in lines if line.refund_id is not None})

        def work(tx: Tx) -> tuple[dict[int, PaymentRecord], dict[int, RefundRecord]]:
            return payment_rows.by_ids(tx, payment_ids), refund_rows.by_ids(tx, refund_ids)

        return await self._till.database.read(work)


def _fact(payment: PaymentRecord) -> PaymentFact:
    asked_back = Money(payment.refund_requested, payment.currency)
    return PaymentFact(payment.id, payment.order_id, payment.money, payment.status, asked_back)


def _number(text: str | None) -> int:
    """The id, or 0 for a text that is none: nothing of ours has it."""
    if text is None or not (text.isascii() and text.isdigit()) or int(text) > ID_MAX:
        return 0
    return int(text)
