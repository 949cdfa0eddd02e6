"""Use cases of the flash sale: hold a sale, claim in it, release what is not paid."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import structlog

from doorbuster.contexts.flash_sale import books, claiming, store
from doorbuster.contexts.flash_sale.allotting import NAME, Allotting, Plan, write_plan
from doorbuster.contexts.flash_sale.live import LiveSales, View
from doorbuster.contexts.flash_sale.model import Sale, Terms, plan_sale
from doorbuster.contexts.flash_sale.pace import Pace
from doorbuster.contracts.audit import FACTS_PAGE, Check, ClaimFact, SaleFact
from doorbuster.contracts.catalog import Catalog
from doorbuster.contracts.flash_sale import (
    Claim,
    ClaimNotFound,
    ClaimPace,
    ClaimRequest,
    SaleDoor,
    SaleNotFound,
    SaleProposal,
)
from doorbuster.contracts.inventory import Allots
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Busy, Forbidden, OutcomeUnknown, ShopError, Unavailable
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.kernel.request_context import current_cause
from doorbuster.platform.context import Platform
from doorbuster.platform.pools import outcomes_of
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.group_commit import GroupCommit
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page
from doorbuster.platform.telemetry.crash_points import crash_point

UNKNOWN_REPEATS, UNKNOWN_PAUSE_S = 5, 0.2
"""How often a batch whose COMMIT was cut off is asked again before its callers are told that nobody knows."""

log = structlog.get_logger(NAME)


class FlashSaleService:
    def __init__(self, platform: Platform, database: Database, catalog: Catalog, inventory: Allots) -> None:
        self._platform = platform
        self._database = database
        self._catalog = catalog
        self.live = LiveSales(database, platform.clock)
        self.allotting = Allotting(database, inventory, platform.wakeups, platform.clock)
        self._pace = Pace()
        settings = platform.settings.flash_sale
        self._commits: GroupCommit[ClaimRequest, Claim] = GroupCommit(
            self._commit,
            max_batch=settings.batch_max,
            max_waiting=settings.waiting_max,
            patience_s=platform.settings.http.patience_s,
        )

    # --- claims -------------------------------------------------------------------------------------------------

    async def claim(self, request: ClaimRequest, deadline: Deadline | None = None) -> Claim:
        """Claims units: durable when this returns.

        Raises SaleNotFound, SoldOut, LimitReached, SaleNotOpen, AdmissionRequired, AdmissionInvalid,
        IdempotencyKeyReused, Overloaded, Unavailable, OutcomeUnknown.
        """
        view = self.live.known(request.sale_id) or await self._looked_up(request.sale_id)
        refusal = self.live.refusal(view, request.customer_id, self._platform.clock.now_ms())
        refusal = refusal or self.live.unadmitted(view, request)
        if refusal is not None:
            raise refusal
        if request.cause is None:  # only now: whoever was refused has told nobody anything
            request = request.caused_by(current_cause())
        time_s = asyncio.get_running_loop().time
        began_s = time_s()
        try:
            claim = await self._commits.submit(request, deadline)
        except Busy:
            self._pace.refused(time_s())
            raise
        except ShopError:
            self._pace.answered(began_s, time_s())
            raise
        self._pace.answered(began_s, time_s())
        return claim

    async def _looked_up(self, sale_id: int) -> View:
        """Of a sale that nobody has asked for here. Raises SaleNotFound, Unavailable: nobody else limits the time."""
        try:
            async with asyncio.timeout(self._platform.settings.http.request_timeout_s):
                return await self.live.view(sale_id)
        except TimeoutError as silent:
            raise Unavailable("the sale cannot be looked up in time") from silent

    async def claim_many(
        self, requests: Sequence[ClaimRequest], deadline: Deadline | None = None
    ) -> Sequence[Claim | Exception]:
        """See contracts.flash_sale.FlashSale."""
        batch_max = self._platform.settings.flash_sale.batch_max
        return await outcomes_of(batch_max, requests, lambda request: self.claim(request, deadline))

    async def _commit(self, requests: Sequence[ClaimRequest]) -> Sequence[Claim | ShopError]:
        """One durable transaction for a batch."""
        terms = await self._terms({request.sale_id for request in requests})
        batch = await self._claim_certainly(requests, terms)
        crash_point("claim.committed-not-answered")
        for allotment in batch.allotments:
            self.live.learn(allotment)
        self._platform.wakeups.wake(NAME)
        return batch.outcomes

    async def _claim_certainly(self, requests: Sequence[ClaimRequest], terms: dict[int, Terms]) -> claiming.Batch:
        """Commits the batch; if the connection is lost during the commit, asks again with the same keys.

        The repeat waits for the lock that the lost transaction held, then finds its keys or decides anew.
        """
        try:
            return await self._claim_batch(requests, terms)
        except OutcomeUnknown:
            log.warning("connection lost during commit; asking again", requests=len(requests))
        for _ in range(UNKNOWN_REPEATS):
            try:
                return await self._claim_batch(requests, terms)
            except (OutcomeUnknown, Unavailable) as again:
                log.warning("still not known", error=repr(again))
                await asyncio.sleep(UNKNOWN_PAUSE_S)
        raise OutcomeUnknown

    async def _claim_batch(self, requests: Sequence[ClaimRequest], terms: dict[int, Terms]) -> claiming.Batch:
        def work(tx: Tx) -> claiming.Batch:
            batch = claiming.claim_batch(tx, requests, terms, self._platform.clock, self._platform.ids.next)
            crash_point("claim.written-not-committed")
            return batch

        return await self._database.write(work)

    async def _terms(self, sale_ids: set[int]) -> dict[int, Terms]:
        terms: dict[int, Terms] = {}
        for sale_id in sale_ids:
            try:
                terms[sale_id] = (await self.live.view(sale_id)).terms
            except SaleNotFound:
                log.info("claim in a sale that does not exist", sale_id=sale_id)
        return terms

    async def claims(self, order_ids: Sequence[int]) -> Sequence[Claim]:
        """See contracts.flash_sale.FlashSale."""
        return await self._database.read(lambda tx: store.find_claims(tx, order_ids))

    async def own_claim(self, principal: Principal, order_id: int) -> Claim:
        """Raises ClaimNotFound, also for somebody else's."""
        found = await self.claims([order_id])
        if not found or found[0].customer_id != principal.account_id:
            raise ClaimNotFound
        return found[0]

    # --- sales --------------------------------------------------------------------------------------------------

    async def create_sale(self, principal: Principal, key: str, proposal: SaleProposal) -> Sale:
        """Schedules a sale of a SKU of one's own. Its units come out of the warehouse.

        Raises SkuNotFound, Forbidden, SaleTermsInvalid, OutOfStock, IdempotencyKeyReused, Unavailable.
        """
        sku = await self._catalog.sku(proposal.sku_id)
        _check_owner(principal, sku.merchant_id)
        now_ms = self._platform.clock.now_ms()
        scope = f"sale:{principal.account_id}"

        def plan(tx: Tx) -> Sale:
            sale = plan_sale(proposal, sku, self._platform.ids.next(), now_ms)
            write_plan(tx, Plan(sale, scope, key), now_ms)
            return sale

        def planned(tx: Tx) -> tuple[Sale, bool]:
            """The sale that the key stands for, and whether it is made already."""
            sale = once(tx, scope, key, proposal, Sale, now_ms, lambda: plan(tx))
            return sale, store.find_sale(tx, sale.terms.sale_id) is not None

        sale, made = await self._database.write(planned)
        return sale if made else await self.allotting.carry_out(Plan(sale, scope, key))

    async def open_sale(self, principal: Principal, sale_id: int) -> Sale:
        """Opens a scheduled sale now; does nothing if it is open. Raises SaleNotFound, Forbidden."""
        return await self._change(principal, sale_id, store.set_opening)

    async def close_sale(self, principal: Principal, sale_id: int) -> Sale:
        """Closes a sale now; does nothing if it is closed. Raises SaleNotFound, Forbidden."""
        return await self._change(principal, sale_id, store.set_closing)

    async def _change(self, principal: Principal, sale_id: int, change: Callable[[Tx, int, Clock], None]) -> Sale:
        _check_owner(principal, (await self.live.read(sale_id)).terms.merchant_id)

        def work(tx: Tx) -> Sale:
            change(tx, sale_id, self._platform.clock)
            sale = store.find_sale(tx, sale_id)
            assert sale is not None, "sales are never deleted"
            return sale

        sale = await self._database.write(work)
        self.live.learn(sale.allotment)
        return sale

    async def sale(self, sale_id: int) -> View:
        """The sale as known to this process, at most a second behind. Raises SaleNotFound, Unavailable."""
        return await self.live.fresh(sale_id)

    async def list_sales(self, before: int | None, limit: int) -> Page[Sale]:
        """The newest sales first."""
        found = await self._database.read(lambda tx: store.list_sales(tx, before or ID_MAX, limit + 1))
        more = len(found) > limit
        return Page(found[:limit], found[limit - 1].terms.sale_id if more else None)

    # --- the waiting room (contracts.flash_sale.GuardsSales) ---------------------------------------------------------

    async def doors(self, sale_ids: Sequence[int]) -> Sequence[SaleDoor]:
        return [_door(sale) for sale in await self._database.read(lambda tx: store.find_sales(tx, sale_ids))]

    async def guard(self, sale_id: int, *, guarded: bool) -> SaleDoor:
        def work(tx: Tx) -> Sale | None:
            store.set_guarded(tx, sale_id, self._platform.clock, guarded=guarded)
            return store.find_sale(tx, sale_id)

        sale = await self._database.write(work)
        if sale is None:
            raise SaleNotFound
        self.live.learn(sale.allotment)
        return _door(sale)

    def pace(self) -> ClaimPace:
        return self._pace.now(asyncio.get_running_loop().time())

    # --- books --------------------------------------------------------------------------------------------------

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        return await self._database.read(books.checks)

    async def claim_facts(self, after: int = 0) -> AsyncIterator[Sequence[ClaimFact]]:
        """See contracts.audit.AuditsClaims."""
        while True:
            page = await self._database.read(lambda tx, after=after: store.page_of_claims(tx, after, FACTS_PAGE))
            if page:
                yield [_fact(claim) for claim in page]
                after = page[-1].order_id
            if len(page) < FACTS_PAGE:
                return

    async def claim_facts_of(self, order_ids: Sequence[int]) -> Sequence[ClaimFact]:
        """See contracts.audit.AuditsClaims."""
        return [_fact(claim) for claim in await self.claims(order_ids)]

    async def sale_facts(self, after: int = 0) -> AsyncIterator[Sequence[SaleFact]]:
        """See contracts.audit.AuditsSales."""
        while True:
            page = await self._database.read(lambda tx, after=after: books.page_of_sales(tx, after, FACTS_PAGE))
            if page:
                yield page
                after = page[-1].sale_id
            if len(page) < FACTS_PAGE:
                return

    async def sale_facts_of(self, sale_ids: Sequence[int]) -> Sequence[SaleFact]:
        """See contracts.audit.AuditsSales."""
        return await self._database.read(lambda tx: books.sales_of(tx, sale_ids))

    async def close(self) -> None:
        await self._commits.close()


def _fact(claim: Claim) -> ClaimFact:
    total = claim.unit_price.times(claim.quantity)
    return ClaimFact(claim.order_id, claim.customer_id, total, claim.released, claim.pay_by_ms)


def _door(sale: Sale) -> SaleDoor:
    terms, allotment = sale.terms, sale.allotment
    return SaleDoor(
        terms.sale_id,
        terms.merchant_id,
        terms.title,
        allotment.opens_ms,
        allotment.closes_ms,
        allotment.left,
        allotment.guarded,
    )


def _check_owner(principal: Principal, merchant_id: int) -> None:
    if principal.role != "admin" and principal.account_id != merchant_id:
        raise Forbidden("only the merchant of the SKU or an admin may do that")
