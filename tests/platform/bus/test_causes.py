"""Events say what they happened for: of the request that told them, and on through those who listen."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa
import structlog
from structlog.testing import capture_logs

from doorbuster.kernel.cause import Cause, cause_in
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.events import Envelope
from doorbuster.kernel.request_context import RequestContext, working_on
from doorbuster.platform.bus.consumer import ATTEMPTS_MAX, FIRST_PAUSE_MS, Consumer, dead_letters, replay
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.bus.relay import Relay
from doorbuster.platform.bus.tables import outbox, parked
from doorbuster.platform.bus.wakeups import Wakeups
from doorbuster.platform.sql.database import Database, Tx

from .ledger import NOW_MS, Deposited, deposits, rows, tell

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def a_request(number: int) -> RequestContext:
    request = RequestContext(f"request-{number}", "POST", "/v1/deposits", 2**63 + 1, number)
    request.continue_trace(PARENT)
    return request


class Echo:
    """Listens to deposits and tells of each again, and of its account's neighbour, in a database of its own."""

    def __init__(self, neighbour: int | None = None) -> None:
        self.neighbour = neighbour
        self.fails = False
        self.heard: list[Cause | None] = []
        self.logs: list[dict[str, Any]] = []
        self.consumer = Consumer("books.echo", "bank", (Deposited,), self._echo)

    def _echo(self, tx: Tx, envelopes: Sequence[Envelope[Any]]) -> None:
        self.heard = [envelope.cause for envelope in envelopes]
        self.logs.append(structlog.contextvars.get_contextvars())
        if self.fails:
            raise ValueError("as it was told to")
        emit(tx, [envelope.event for envelope in envelopes], NOW_MS)
        if self.neighbour is not None:
            emit(tx, [Deposited(self.neighbour, 0, 1)], NOW_MS)


async def deposit(bank: Database, request: RequestContext | None, account: int) -> None:
    """In the task of a request, as the edge leaves it."""
    working_on(request)
    await tell(bank, [Deposited(account, 0, 1)])


async def told(database: Database) -> list[tuple[int, str]]:
    return [(row.aggregate_id, row.cause) for row in await rows(database, outbox)]


def relay_of(bank: Database, books: Database, echo: Echo, clock: ManualClock) -> Relay:
    return Relay(bank, books, echo.consumer, Wakeups(), clock)


async def test_an_event_says_which_request_told_it(bank: Database):
    request = a_request(1)
    await asyncio.create_task(deposit(bank, request, 1))
    await deposit(bank, None, 2)
    assert await told(bank) == [(1, request.cause.text), (2, "")]
    assert request.cause.trace_id == PARENT[3:35]


async def test_those_who_share_a_flush_keep_their_own(bank: Database):
    """SQLite commits them together, each behind a savepoint; one of them fails, and every third has no request."""
    requests = [None if number % 3 == 0 else a_request(number) for number in range(60)]

    async def fail() -> None:
        working_on(a_request(1000))

        def work(tx: Tx) -> None:
            emit(tx, [Deposited(1000, 0, 1)], NOW_MS)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await bank.write(work)

    first = [deposit(bank, request, number) for number, request in enumerate(requests[:30])]
    others = [deposit(bank, request, 30 + number) for number, request in enumerate(requests[30:])]
    await asyncio.gather(*first, fail(), *others)
    assert dict(await told(bank)) == {
        number: "" if request is None else request.cause.text for number, request in enumerate(requests)
    }


async def test_who_commits_for_several_says_it_of_each(bank: Database):
    causes = [a_request(1).cause, None, a_request(2).cause]
    await bank.write(lambda tx: emit(tx, deposits(3), NOW_MS, causes))
    assert await told(bank) == [(n, "" if cause is None else cause.text) for n, cause in enumerate(causes)]


async def test_what_a_listener_tells_has_the_cause_of_what_it_heard(
    bank: Database, books: Database, clock: ManualClock
):
    requests = [a_request(number) for number in range(3)]
    for number, request in enumerate(requests):
        await asyncio.create_task(deposit(bank, request, number))
    await tell(bank, [Deposited(3, 0, 1)])
    echo = Echo(neighbour=77)
    await relay_of(bank, books, echo, clock).step()
    assert echo.heard == [*(request.cause for request in requests), None]
    assert await told(books) == [
        *((number, request.cause.text) for number, request in enumerate(requests)),
        (3, ""),
        (77, ""),  # of several it may have been any
    ]
    assert echo.logs == [{}]


async def test_of_two_requests_about_the_same_aggregate_nobody_knows_which(
    bank: Database, books: Database, clock: ManualClock
):
    for number, account in ((1, 5), (2, 5), (3, 6)):
        await asyncio.create_task(deposit(bank, a_request(number), account))
    await relay_of(bank, books, Echo(), clock).step()
    assert await told(books) == [(5, ""), (5, ""), (6, a_request(3).cause.text)]


async def test_a_single_event_is_the_cause_of_all_that_follows_and_is_named_in_logs(
    bank: Database, books: Database, clock: ManualClock
):
    request = a_request(1)
    await asyncio.create_task(deposit(bank, request, 5))
    echo = Echo(neighbour=77)
    await relay_of(bank, books, echo, clock).step()
    assert await told(books) == [(5, request.cause.text), (77, request.cause.text)]
    assert echo.logs == [{"request_id": "request-1", "trace_id": PARENT[3:35]}]
    # The next one, which nobody asked for, has nothing left over from it.
    await tell(bank, [Deposited(6, 0, 1)])
    await relay_of(bank, books, echo, clock).step()
    assert (await told(books))[2:] == [(6, ""), (77, "")]
    assert echo.logs[1:] == [{}]


async def test_a_malformed_cause_is_none_and_no_reason_to_fail(bank: Database, books: Database, clock: ManualClock):
    await asyncio.create_task(deposit(bank, a_request(1), 5))
    await bank.write(lambda tx: tx.execute(sa.update(outbox).values(cause="00-by-hand")))
    echo = Echo()
    await relay_of(bank, books, echo, clock).step()
    assert echo.heard == [None]
    assert await told(books) == [(5, "")]


async def test_a_dead_letter_that_is_replayed_keeps_its_cause(bank: Database, books: Database, clock: ManualClock):
    request = a_request(1)
    await asyncio.create_task(deposit(bank, request, 5))
    echo = Echo()
    echo.fails = True
    relay = relay_of(bank, books, echo, clock)
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await relay.step()
        for _ in range(ATTEMPTS_MAX):
            clock.advance(FIRST_PAUSE_MS * 2**ATTEMPTS_MAX)
            await relay.retry_parked()
    assert [row.cause for row in await rows(books, parked)] == [request.cause.text]
    (dead,) = await books.read(dead_letters)
    assert cause_in(dead.cause) == request.cause
    assert [line["event"] for line in lines] == ["event parked", *["event failed again"] * (ATTEMPTS_MAX - 1)]
    assert {(line["request_id"], line["trace_id"]) for line in lines} == {("request-1", PARENT[3:35])}

    await books.write(replay)
    echo.fails = False
    await relay.retry_parked()
    assert echo.heard == [request.cause]
    assert await told(books) == [(5, request.cause.text)]
    assert await rows(books, parked) == []
