"""Three ways to sell one hot SKU. All do the same work per claim, with the same durability.

That work: a guarded decrement of the allotment, the customer's limit counter, the claim with its idempotency key,
and an outbox row. Pessimistic and group commit run the very same statements (`claiming.claim_batch`), on one claim
or on a batch; the optimistic way has no lock, so its decrement asks for the version as well.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Literal

import msgspec

from doorbuster.contexts.flash_sale import claiming
from doorbuster.contexts.flash_sale.model import Terms
from doorbuster.contexts.flash_sale.service import NAME, FlashSaleService
from doorbuster.contexts.flash_sale.wiring import HISTORY
from doorbuster.contracts.flash_sale import Claim, ClaimRequest
from doorbuster.kernel.errors import Busy, ShopError, Unavailable
from doorbuster.lab.bench.goods import OneSku, Plenty, open_sale, platform_of
from doorbuster.lab.bench.optimistic import VersionMoved, decide_one, look, write_if_unmoved
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

Strategy = Literal["pessimistic", "optimistic", "group_commit"]
STRATEGIES: tuple[Strategy, ...] = ("pessimistic", "optimistic", "group_commit")
CLIENTS = 16
ATTEMPTS_MAX = 200
"""An optimistic client that lost so often in a row gives up; what it wanted is not sold."""
PAUSE_S_MIN, PAUSE_S_MAX = 0.002, 0.064
"""Bounds of the pause after a lost race: it doubles, and is drawn evenly between nothing and that. The best of four
pairs that were tried on PostgreSQL, from 0.5–4 ms (a third slower) to these."""


class GaveUp(Busy):
    """Lost every race it was willing to run. Nothing was done."""


class Seller(ABC):
    """Sells units of one open sale to CLIENTS clients at a time. `lost_races` counts repeats."""

    def __init__(self, platform: Platform, databases: Sequence[Database], service: FlashSaleService, terms: Terms):
        self.platform = platform
        self.databases = databases
        self.service = service
        self.terms = terms
        self.lost_races = 0

    @property
    def sale_id(self) -> int:
        return self.terms.sale_id

    @abstractmethod
    async def claim(self, client: int, request: ClaimRequest) -> Claim:
        """Durable when it returns. Raises what FlashSaleService.claim raises, and GaveUp."""

    def database_of(self, client: int) -> Database:
        """SQLite: a connection and thread of the client's own. PostgreSQL: a pool with a connection for each."""
        return self.databases[client % len(self.databases)]


class GroupCommitSeller(Seller):
    """The shop's own way: whoever arrives while a commit is running forms the next batch."""

    async def claim(self, client: int, request: ClaimRequest) -> Claim:  # noqa: ARG002 - all share one connection
        return await self.service.claim(request)


class PessimisticSeller(Seller):
    """Locks the row, sells one unit, commits: SELECT ... FOR UPDATE, on SQLite BEGIN IMMEDIATE."""

    async def claim(self, client: int, request: ClaimRequest) -> Claim:
        while True:
            try:
                return await self._claim_once(client, request)
            except Unavailable:  # SQLite: five seconds of waiting for the file's lock were not enough
                self.lost_races += 1

    async def _claim_once(self, client: int, request: ClaimRequest) -> Claim:
        terms = {self.sale_id: self.terms}

        def work(tx: Tx) -> Claim | ShopError:
            (outcome,) = claiming.claim_batch(
                tx, [request], terms, self.platform.clock, self.platform.ids.next
            ).outcomes
            return outcome

        return _claim_or_raise(await self.database_of(client).write(work))


class OptimisticSeller(Seller):
    """Reads, then writes if the version has not moved; else pauses and reads afresh."""

    _chance = Random(1)

    async def claim(self, client: int, request: ClaimRequest) -> Claim:
        pause_s = PAUSE_S_MIN
        for _ in range(ATTEMPTS_MAX):
            try:
                return await self._claim_once(client, request)
            except (VersionMoved, Unavailable):
                self.lost_races += 1
            await asyncio.sleep(self._chance.uniform(0, pause_s))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        raise GaveUp(f"lost {ATTEMPTS_MAX} races in a row")

    async def _claim_once(self, client: int, request: ClaimRequest) -> Claim:
        database, now_ms = self.database_of(client), self.platform.clock.now_ms()
        seen = await database.read(lambda tx: look(tx, request))
        decision = decide_one(request, self.terms, seen, now_ms, self.platform.ids.next)
        if decision.claims:
            version = seen[0].version
            await database.write(lambda tx: write_if_unmoved(tx, decision, self.terms, version, now_ms))
        return _claim_or_raise(decision.outcomes[0])


def _claim_or_raise(outcome: Claim | ShopError) -> Claim:
    if isinstance(outcome, ShopError):
        raise outcome
    return outcome


_KINDS: dict[Strategy, type[Seller]] = {
    "pessimistic": PessimisticSeller,
    "optimistic": OptimisticSeller,
    "group_commit": GroupCommitSeller,
}


@asynccontextmanager
async def open_seller(strategy: Strategy, settings: Settings, units: int) -> AsyncGenerator[Seller]:
    """A seller of a fresh sale on an empty store."""
    alone = strategy == "group_commit"
    pool = msgspec.structs.replace(settings.database, pool_size=CLIENTS)
    files = 1 if alone or settings.database.url else CLIENTS
    databases = [(await open_databases(pool, settings.folder, [NAME]))[NAME] for _ in range(files)]
    try:
        platform = platform_of(settings)
        await migrate(databases[0], HISTORY, platform.clock.now_ms())
        service = FlashSaleService(platform, databases[0], OneSku(), Plenty())
        sale_id = await open_sale(service, "hot", units)
        terms = (await service.sale(sale_id)).terms
        yield _KINDS[strategy](platform, databases, service, terms)
        await service.close()
    finally:
        for database in databases:
            await database.close()
