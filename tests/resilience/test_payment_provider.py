"""The payment provider dies, hangs, talks nonsense, and comes back; on both databases, against a real process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import msgspec
import pytest
import sqlalchemy as sa
from aiohttp import web

from conftest import OpenDatabase
from contexts.notifications.servers import Receiver
from doorbuster.contexts.payments.resilience import PROVIDERS
from doorbuster.contexts.payments.store.tables import ledger_entries, payments
from doorbuster.contexts.payments.wiring import PaymentsContext, build
from doorbuster.kernel.errors import ShopError, Unavailable
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.breaker import CircuitOpen
from doorbuster.platform.context import Platform
from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.neighbour import Neighbours, NeighbourSnapshot
from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.settings.tree import PaymentsSettings
from doorbuster.platform.sql.database import Database
from platform_ticking import Ticking
from resilience.conftest import SECRET

PRICE = Money(1990, "CNY")
ENOUGH = PROVIDERS.default.breaker.calls_min
OPEN_MS = PROVIDERS.default.breaker.open_ms


@dataclass
class Paying:
    built: PaymentsContext
    database: Database
    platform: Platform
    time: Ticking
    """The breaker's."""

    async def open(self, order_id: int | None = None) -> ShopError | str:
        """What became of it: an error, or the payment's status."""
        order_id = order_id or self.platform.ids.next(77)
        try:
            return (await self.built.service.create(order_id, 77, PRICE, "key")).status
        except ShopError as error:
            return error

    async def rows(self) -> list[str]:
        return list(await self.database.read(lambda tx: tx.execute(sa.select(payments.c.status)).scalars().all()))

    @property
    def seen(self) -> NeighbourSnapshot:
        (snapshot,) = self.platform.neighbours.snapshots()
        return snapshot


@asynccontextmanager
async def paying(
    platform: Platform, open_database: OpenDatabase, url: str, timeout_s: float = 5.0
) -> AsyncIterator[Paying]:
    database = await open_database("payments", "doorbuster.contexts.payments.migrations")
    time = Ticking()
    settings = msgspec.structs.replace(
        platform.settings, payments=PaymentsSettings(simulator_url=url, provider_timeout_s=timeout_s)
    )
    own = replace(platform, settings=settings, neighbours=Neighbours(time), runtime=Runtime())
    built = build(own, database, [SECRET])
    try:
        yield Paying(built, database, own, time)
    finally:
        await built.close()


async def test_it_dies_and_comes_back(platform: Platform, open_database: OpenDatabase, simulator: SimulatorProcess):
    async with paying(platform, open_database, simulator.base_url) as shop:
        waiting = shop.platform.ids.next(77)
        assert await shop.open(waiting) == "pending"
        simulator.kill()
        outcomes = [await shop.open() for _ in range(ENOUGH)]
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert shop.seen.breaker.state == "open"
        calls = shop.seen.breaker.calls
        told = await asyncio.gather(*(shop.open() for _ in range(50)))
        assert all(isinstance(outcome, CircuitOpen) for outcome in told)
        assert shop.seen.breaker.calls == calls, "it is not asked any more"
        status, headers, body = problem_of(told[0], "request")  # type: ignore[arg-type]
        assert (status, dict(headers)[b"retry-after"]) == (503, b"5")
        assert msgspec.json.decode(body)["slug"] == "circuit-open"
        # Nothing ends that might have been paid.
        assert await shop.built.service.close_open([waiting]) == {waiting: "unknown"}
        assert await shop.open(waiting) == "pending", "what was offered is offered still"

        simulator.restart()
        assert isinstance(await shop.open(), CircuitOpen)
        shop.time.advance(OPEN_MS)
        assert [await shop.open() for _ in range(3)] == ["pending"] * 3
        assert shop.seen.breaker.state == "closed"
        assert await shop.built.service.close_open([waiting]) == {waiting: "closed"}
        statuses = await shop.rows()
        assert (statuses.count("pending"), statuses.count("cancelled"), statuses.count("captured")) == (3, 1, 0)


async def test_it_hangs(platform: Platform, open_database: OpenDatabase, simulator: SimulatorProcess):
    assert simulator.pid is not None
    async with paying(platform, open_database, simulator.base_url, timeout_s=0.3) as shop:
        os.kill(simulator.pid, signal.SIGSTOP)
        try:
            outcomes = await asyncio.gather(*(shop.open() for _ in range(ENOUGH)))
            assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
            assert isinstance(await shop.open(), CircuitOpen)
            assert (shop.seen.under_way, shop.seen.waiting) == (0, 0)
        finally:
            os.kill(simulator.pid, signal.SIGCONT)
        shop.time.advance(OPEN_MS)
        async with asyncio.timeout(30):
            while shop.seen.breaker.state != "closed":
                shop.time.advance(OPEN_MS)
                await shop.open()
        assert await shop.open() == "pending"


async def test_it_talks_nonsense(platform: Platform, open_database: OpenDatabase):
    async with Receiver() as liar, paying(platform, open_database, liar.url) as shop:
        liar.answer = lambda _: web.json_response({"status": "captured", "amount": -1})
        outcome = await shop.open()
        assert isinstance(outcome, Unavailable)
        assert "understood" in outcome.detail
        assert await shop.rows() == ["in_progress"]
        entries = await shop.database.read(lambda tx: tx.execute(sa.select(ledger_entries)).all())
        assert entries == [], "nothing is booked"


async def test_with_it_down_it_gets_at_most_a_tenth_more_calls_than_there_are_requests(
    platform: Platform, open_database: OpenDatabase
):
    async with Receiver() as down, paying(platform, open_database, down.url) as shop:
        down.answer = lambda _: web.Response(status=503)
        outcomes = [await shop.open() for _ in range(200)]
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
        assert len(down.requests) == ENOUGH
        tries = [headers["doorbuster-attempt"] for _, headers, _ in down.requests if "doorbuster-attempt" in headers]
        assert len(tries) >= 1, "a retry says so"


async def test_it_is_switched_off_by_hand_and_by_the_settings(
    platform: Platform, open_database: OpenDatabase, simulator: SimulatorProcess
):
    async with paying(platform, open_database, simulator.base_url) as shop:
        neighbours = shop.platform.neighbours
        assert neighbours.force("payments.simulator", "", "open") is not None
        assert isinstance(await shop.open(), CircuitOpen)
        neighbours.force("payments.simulator", "", "auto")
        assert await shop.open() == "pending"
        stored = {"resilience.payment_providers": b'{"value":{"forced":"open"}}'}
        shop.platform.runtime.apply(Snapshot(version=1, entries=stored))
        assert isinstance(await shop.open(), CircuitOpen)
        shop.platform.runtime.apply(Snapshot(version=2, entries={}))
        assert await shop.open() == "pending"


@pytest.mark.parametrize("bound", [1, 4])
async def test_a_stalled_provider_holds_a_bounded_number_and_the_rest_is_told_at_once(
    platform: Platform, open_database: OpenDatabase, bound: int
):
    gate = asyncio.Event()
    async with Receiver(before=gate.wait) as stalled, paying(platform, open_database, stalled.url) as shop:
        stalled.answer = lambda _: web.Response(status=503)
        bulkhead = msgspec.json.encode({"value": {"bulkhead": {"at_once": bound, "waiting_max": 2}}})
        shop.platform.runtime.apply(Snapshot(version=1, entries={"resilience.payment_providers": bulkhead}))
        calls = [asyncio.ensure_future(shop.open()) for _ in range(60)]
        async with asyncio.timeout(60):
            while sum(call.done() for call in calls) < 60 - bound - 2:
                await asyncio.sleep(0.01)
        assert (len(stalled.requests), shop.seen.under_way, shop.seen.waiting) == (bound, bound, 2)
        assert all(isinstance(call.result(), Unavailable) for call in calls if call.done())
        gate.set()
        await asyncio.gather(*calls)
        assert (shop.seen.under_way, shop.seen.waiting) == (0, 0)
