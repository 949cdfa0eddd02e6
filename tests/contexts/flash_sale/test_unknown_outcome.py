"""A connection that dies in the middle of COMMIT: the same claim or an honest "not known", nothing wrong or twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import pytest

from contexts.flash_sale.conftest import MakeSale, OneSku, Rows, Warehouse, request
from contexts.orders.gate import all_at_once, of_type
from doorbuster.contexts.flash_sale import wiring
from doorbuster.contexts.flash_sale.service import FlashSaleService
from doorbuster.contexts.flash_sale.tables import claims
from doorbuster.contracts.flash_sale import Claim, ClaimRequest, SoldOut
from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.errors import OutcomeUnknown, Unavailable
from doorbuster.kernel.ids import Snowflake
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import FlashSaleSettings
from doorbuster.platform.sql.database import Tx
from doorbuster.platform.sql.postgres import PostgresDatabase

pytestmark = pytest.mark.parametrize("database_settings", ["postgres"], indirect=True)
T = TypeVar("T")
Cut = Literal["before the commit", "after the commit"]


class Line:
    """A line to PostgreSQL that can be cut when a COMMIT goes over it, and stay dead."""

    def __init__(self, url: str) -> None:
        self._there = urlsplit(url)
        self._server: asyncio.Server | None = None
        self.cut: Cut | None = None
        self.dies = False
        self.stays_dead = False
        self.cuts = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return urlunsplit(self._there._replace(netloc=f"{self._there.username or 'postgres'}@127.0.0.1:{port}"))

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.stays_dead:
            writer.close()
            return
        there, back = await asyncio.open_connection(self._there.hostname, self._there.port)
        answers = asyncio.create_task(_copy(there, writer))
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self.cut is not None and b"COMMIT\0" in data:
                    how, self.cut = self.cut, None
                    self.cuts += 1
                    self.stays_dead = self.dies
                    answers.cancel()
                    await asyncio.wait([answers])
                    if how == "after the commit":
                        back.write(data)
                        assert await there.read(65_536)  # it is committed; nobody will hear of it
                    break
                back.write(data)
        answers.cancel()
        for end in (back, writer):
            end.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


@pytest.fixture
async def line(postgres_url: str) -> AsyncIterator[Line]:
    async with Line(postgres_url) as line:
        yield line


@pytest.fixture
async def far_flash_sale(platform: Platform, line: Line) -> AsyncIterator[FlashSaleService]:
    """A service at the other end of the line."""
    database = PostgresDatabase("flash_sale", line.url, pool_size=2)
    elsewhere = replace(platform, ids=Snowflake(SystemClock(), worker=2))
    service = wiring.build(elsewhere, database, OneSku(), Warehouse()).service
    yield service
    await service.close()
    await database.close()


@pytest.mark.parametrize("cut", ["before the commit", "after the commit"])
async def test_the_last_unit_is_answered_with_its_claim_although_the_commit_was_cut_off(
    far_flash_sale: FlashSaleService, line: Line, make_sale: MakeSale, rows: Rows, cut: Cut
) -> None:
    sale = await make_sale(units=1)
    await far_flash_sale.sale(sale.terms.sale_id)  # read before, so that the next commit is the claim's
    line.cut = cut
    claim = await far_flash_sale.claim(request(sale, 1))
    assert line.cuts == 1
    assert await rows.owner_of() == {claim.order_id: 1}
    assert await rows.left(sale.terms.sale_id) == 0
    assert [row.aggregate_id for row in await rows.all(outbox)] == [claim.order_id]
    with pytest.raises(SoldOut):
        await far_flash_sale.claim(request(sale, 2))


@pytest.mark.parametrize("cut", ["before the commit", "after the commit"])
async def test_a_whole_batch_gets_what_the_rows_say(
    far_flash_sale: FlashSaleService, line: Line, make_sale: MakeSale, rows: Rows, cut: Cut
) -> None:
    sale = await make_sale(units=60)
    await far_flash_sale.sale(sale.terms.sale_id)  # read before, so that all of them make one batch
    line.cut = cut
    wanted = [request(sale, customer) for customer in range(1, 101)]
    outcomes = await far_flash_sale.claim_many([*wanted, *wanted[:20]])
    assert line.cuts == 1
    won = of_type(outcomes[:100], Claim)
    assert [claim.customer_id for claim in won] == list(range(1, 61))
    assert outcomes[100:] == outcomes[:20]
    assert len(of_type(outcomes, SoldOut)) == 40
    assert await rows.owner_of() == {claim.order_id: claim.customer_id for claim in won}
    assert {check.verdict for check in await far_flash_sale.audit()} == {"holds"}


@pytest.mark.parametrize("cut", ["before the commit", "after the commit"])
async def test_when_the_database_stays_away_nobody_is_told_what_nobody_knows(
    far_flash_sale: FlashSaleService, line: Line, make_sale: MakeSale, rows: Rows, cut: Cut
) -> None:
    sale = await make_sale(units=2)
    await far_flash_sale.sale(sale.terms.sale_id)
    line.cut, line.dies = cut, True
    wanted = [request(sale, customer) for customer in (1, 2, 3)]
    outcomes = await far_flash_sale.claim_many(wanted)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3
    written = await rows.owner_of()
    assert len(written) == (2 if cut == "after the commit" else 0)
    line.stays_dead = False
    again = await far_flash_sale.claim_many(wanted)
    assert [type(outcome) for outcome in again] == [Claim, Claim, SoldOut]
    owners = await rows.owner_of()
    assert owners == {claim.order_id: claim.customer_id for claim in of_type(again, Claim)}
    assert written.items() <= owners.items()


class Killing:
    """A database one of whose transactions loses its server process while its COMMIT is under way."""

    def __init__(self, database: PostgresDatabase, admin: asyncpg.Connection) -> None:
        self._database = database
        self._admin = admin
        self.killed = 0
        self.armed = False

    name, dialect = "flash_sale", "postgres"

    async def write(self, work: Callable[[Tx], T]) -> T:
        if not self.armed:
            return await self._database.write(work)
        self.armed = False
        process: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def seen(tx: Tx) -> T:
            result = work(tx)
            ((pid,),) = tx.rows("SELECT pg_backend_pid()")
            process.set_result(pid)
            return result

        killing = asyncio.create_task(self._kill_in_commit(process))
        try:
            return await self._database.write(seen)
        finally:
            await killing

    async def _kill_in_commit(self, process: asyncio.Future[int]) -> None:
        pid = await process
        committing = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND query = 'COMMIT' AND state = 'active'"
        async with asyncio.timeout(10):
            while not await self._admin.fetchval(committing, pid):
                await asyncio.sleep(0.002)
        self.killed += await self._admin.fetchval("SELECT pg_terminate_backend($1)::int", pid)
        await self._admin.execute("DROP TRIGGER slow_commit ON flash_sale.claims")

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._database.read(work)

    async def close(self) -> None:
        await self._database.close()


SLOW_COMMIT = """
CREATE OR REPLACE FUNCTION flash_sale.take_a_nap() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON flash_sale.claims
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION flash_sale.take_a_nap()
"""


async def test_a_server_process_killed_during_the_commit_costs_nobody_a_claim(
    platform: Platform, postgres_url: str, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=1)
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(SLOW_COMMIT)
    killing = Killing(PostgresDatabase("flash_sale", postgres_url), admin)
    service = wiring.build(platform, killing, OneSku(), Warehouse()).service
    await service.sale(sale.terms.sale_id)
    killing.armed = True
    first, second, again = await service.claim_many([request(sale, 1), request(sale, 2), request(sale, 1)])
    assert killing.killed == 1
    assert isinstance(first, Claim)
    assert isinstance(second, SoldOut)
    assert again == first
    assert await rows.owner_of() == {first.order_id: 1}
    assert [row.aggregate_id for row in await rows.all(outbox)] == [first.order_id]
    await service.close()
    await killing.close()
    await admin.close()


class Reckless:
    """A database that kills the server process of many a transaction: before, in, or shortly after its COMMIT."""

    name, dialect = "flash_sale", "postgres"

    def __init__(self, database: PostgresDatabase, admin: asyncpg.Connection, dice: random.Random) -> None:
        self._database = database
        self._admin = admin
        self._dice = dice
        self._one_at_a_time = asyncio.Lock()
        self._killing: list[asyncio.Task[None]] = []
        self.killed = 0
        self.calm = False

    async def write(self, work: Callable[[Tx], T]) -> T:
        if self.calm or self._dice.random() > 0.35:
            return await self._database.write(work)
        loop = asyncio.get_running_loop()

        def seen(tx: Tx) -> T:
            ((pid,),) = tx.rows("SELECT pg_backend_pid()")
            loop.call_soon(lambda: self._killing.append(loop.create_task(self._kill(pid))))
            return work(tx)

        return await self._database.write(seen)

    async def _kill(self, pid: int) -> None:
        await asyncio.sleep(self._dice.choice((0, 0.001, 0.002, 0.004, 0.008)))
        async with self._one_at_a_time:
            self.killed += await self._admin.fetchval("SELECT pg_terminate_backend($1)::int", pid)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self._database.read(work)

    async def close(self) -> None:
        await asyncio.gather(*self._killing)
        await self._database.close()


async def test_server_processes_killed_at_any_moment_of_a_rush_leave_every_promise_kept(
    platform: Platform, postgres_url: str, make_sale: MakeSale, rows: Rows
) -> None:
    sale = await make_sale(units=80)
    admin = await asyncpg.connect(postgres_url)
    reckless = Reckless(PostgresDatabase("flash_sale", postgres_url, pool_size=2), admin, random.Random(3))
    # Small batches, so that there are many commits to hit.
    settings = msgspec.structs.replace(platform.settings, flash_sale=FlashSaleSettings(batch_max=5))
    service = wiring.build(replace(platform, settings=settings), reckless, OneSku(), Warehouse()).service
    wanted = [request(sale, customer) for customer in range(1, 161)]
    outcomes = await all_at_once([lambda want=want: service.claim(want) for want in wanted])
    assert reckless.killed > 5
    reckless.calm = True
    assert {type(outcome) for outcome in outcomes} <= {Claim, SoldOut, OutcomeUnknown, Unavailable}
    settled = [await _insist(service, want) for want in wanted]
    for outcome, final in zip(outcomes, settled, strict=True):
        if isinstance(outcome, Claim):
            assert final == outcome
    won = of_type(settled, Claim)
    assert len(won) == 80
    assert await rows.owner_of() == {claim.order_id: claim.customer_id for claim in won}
    assert len(await rows.all(outbox)) == len(await rows.all(claims)) == 80
    assert {check.verdict for check in await service.audit()} == {"holds"}
    await service.close()
    await reckless.close()
    await admin.close()


async def _insist(service: FlashSaleService, want: ClaimRequest) -> Claim | SoldOut:
    for _ in range(20):
        try:
            return await service.claim(want)
        except SoldOut as refused:
            return refused
        except (OutcomeUnknown, Unavailable):
            await asyncio.sleep(0.05)
    raise AssertionError("no answer")
