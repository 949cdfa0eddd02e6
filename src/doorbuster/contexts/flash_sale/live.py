"""What this process knows of open sales without asking the database.

It only ever refuses, and only whom the database would refuse too: memory grants nothing. The database is re-read
every REFRESH_S, so a lost wake-up or another process's refill is seen within that time.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from dataclasses import dataclass

import structlog

from doorbuster.contexts.flash_sale import store
from doorbuster.contexts.flash_sale.model import Allotment, Sale, Terms
from doorbuster.contracts.flash_sale import ClaimRequest, SaleNotFound, SaleNotOpen, SoldOut
from doorbuster.kernel.admission import AdmissionRequired
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.platform.sql.database import Database

REFRESH_S = 0.2
GRACE_MS = 60_000
"""How long around its opening hours a sale is watched."""
AGE_MAX_MS = 1000
"""A view older than this (the database is slow, or the sale no longer watched) refuses nobody."""
VIEWS_MAX = 10_000
MISSING_MS = 500
"""For how long a sale that does not exist is not looked for again."""
HOLDERS_PAUSE_MS = 1000
"""The holders of one sale are read at most this often."""

log = structlog.get_logger("flash_sale")


@dataclass(slots=True)
class View:
    """A sale as last seen, at `seen_ms`. `holders` (sorted ids) are complete as of `holders_version`."""

    terms: Terms
    allotment: Allotment
    seen_ms: int
    holders: array[int] | None = None
    holders_version: int = -1
    holders_read_ms: int = 0

    def holds_nothing(self, customer_id: int) -> bool:
        """Whether it is *known* that the customer never claimed in this sale."""
        if self.holders is None or self.holders_version != self.allotment.version:
            return False
        at = bisect_left(self.holders, customer_id)
        return at == len(self.holders) or self.holders[at] != customer_id


class LiveSales:
    """Views of sales; those that are live are re-read by `watch`, their holders by `watch_holders`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._views: dict[int, View] = {}
        self._holders_wanted: set[int] = set()
        self._reading: dict[int, asyncio.Task[View]] = {}
        self._missing: dict[int, int] = {}

    async def view(self, sale_id: int) -> View:
        """The sale as known here, read if it is not. Raises SaleNotFound, Unavailable."""
        known = self._views.get(sale_id)
        if known is not None:
            return known
        if self._missing.get(sale_id, 0) > self._clock.now_ms():
            raise SaleNotFound
        # The whole crowd of an opening asks at once for a sale that was never read: one of them reads it.
        reading = self._reading.get(sale_id)
        if reading is None:
            reading = self._reading[sale_id] = asyncio.create_task(self.read(sale_id))
            reading.add_done_callback(lambda _: self._reading.pop(sale_id))
        return await asyncio.shield(reading)

    async def read(self, sale_id: int) -> View:
        """The sale as the database has it now. Raises SaleNotFound, Unavailable."""
        sale = await self._database.read(lambda tx: store.find_sale(tx, sale_id))
        if sale is None:
            if len(self._missing) >= VIEWS_MAX:
                self._missing.clear()
            self._missing[sale_id] = self._clock.now_ms() + MISSING_MS
            raise SaleNotFound
        return self._keep(sale)

    def known(self, sale_id: int) -> View | None:
        return self._views.get(sale_id)

    def _keep(self, sale: Sale) -> View:
        known = self._views.get(sale.terms.sale_id)
        if known is not None:
            self.learn(sale.allotment)
            return known
        while len(self._views) >= VIEWS_MAX:
            self._views.pop(next(iter(self._views)))
        view = self._views[sale.terms.sale_id] = View(sale.terms, sale.allotment, self._clock.now_ms())
        return view

    def learn(self, allotment: Allotment) -> None:
        """Takes over what a commit or a read has just shown, unless something newer is known."""
        view = self._views.get(allotment.sale_id)
        if view is not None and allotment.version >= view.allotment.version:
            view.allotment = allotment
            view.seen_ms = self._clock.now_ms()

    async def fresh(self, sale_id: int) -> View:
        """The sale as it was at most AGE_MAX_MS ago. Raises SaleNotFound, Unavailable."""
        view = await self.view(sale_id)
        return view if self._is_fresh(view) else await self.read(sale_id)

    def _is_fresh(self, view: View) -> bool:
        return self._clock.now_ms() - view.seen_ms <= AGE_MAX_MS

    def refusal(self, view: View, customer_id: int, now_ms: int) -> ShopError | None:
        """Why this customer's claim would be refused, if that is certain without asking the database.

        A winner whose answer was lost must get it again, also after the sale: whoever may hold a claim is asked for
        at the database.
        """
        allotment = view.allotment
        if now_ms < allotment.opens_ms:
            return SaleNotOpen(state="scheduled")
        closed = now_ms >= allotment.closes_ms
        if allotment.left and not closed:
            return None
        if self._is_fresh(view) and view.holds_nothing(customer_id):
            return SaleNotOpen(state="closed") if closed else SoldOut(units_left=0)
        if now_ms - view.holders_read_ms >= HOLDERS_PAUSE_MS:
            self._holders_wanted.add(allotment.sale_id)
        return None

    def unadmitted(self, view: View, request: ClaimRequest) -> ShopError | None:
        """Whoever shows no admission to a guarded sale is refused here, however many they are.

        A winner who asks again shows it again: it is part of the request.
        """
        if request.admission is None and view.allotment.guarded and self._is_fresh(view):
            return AdmissionRequired()
        return None

    async def watch(self) -> None:
        """Re-reads live sales until cancelled."""
        while True:
            try:
                await self.refresh()
            except Busy as outage:
                log.warning("live sales not refreshed", error=repr(outage))
            await asyncio.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Raises Unavailable."""
        now_ms = self._clock.now_ms()
        for allotment in await self._database.read(lambda tx: store.live_allotments(tx, now_ms, GRACE_MS)):
            self.learn(allotment)
        for view in self._views.values():
            if not self._is_fresh(view):  # no longer watched: its holders would never be asked for again
                view.holders = None

    async def watch_holders(self) -> None:
        """Reads the holders that are asked for until cancelled; apart from `watch`, for a long list takes a while."""
        while True:
            try:
                await self.refresh_holders()
            except Busy as outage:
                log.warning("holders not read", error=repr(outage))
            await asyncio.sleep(REFRESH_S)

    async def refresh_holders(self) -> None:
        """Raises Unavailable."""
        while self._holders_wanted:
            sale_id = self._holders_wanted.pop()
            view = self._views.get(sale_id)
            if view is None or not self._is_fresh(view):
                continue
            view.holders_read_ms = self._clock.now_ms()
            version, holders = await self._database.read(lambda tx, sale_id=sale_id: store.read_holders(tx, sale_id))
            view.holders, view.holders_version = holders, version
