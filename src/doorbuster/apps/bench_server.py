"""The server that `doorbuster bench` measures: the real door and the real claim route, in a process of its own.

Front room only: no relays, no back room, but outbox rows are written. It is told what to do on standard input (see
`lab.bench.messages`) and ends when that is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sys
import time
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from doorbuster.apps.bench_front import FULL, Places, wide_limiter
from doorbuster.contexts.flash_sale import http
from doorbuster.contexts.flash_sale.claiming import Batch
from doorbuster.contexts.flash_sale.model import Terms, decide
from doorbuster.contexts.flash_sale.service import NAME, FlashSaleService
from doorbuster.contexts.flash_sale.wiring import HISTORY
from doorbuster.contracts.flash_sale import ClaimRequest
from doorbuster.edge.api import build_api
from doorbuster.edge.door import Door
from doorbuster.edge.gateway.gateway import Gateway
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.settings import EVERYTHING_LOCAL
from doorbuster.lab.bench.goods import OneSku, Plenty, open_sale, platform_of
from doorbuster.lab.bench.messages import AskUsage, Listening, NewSale, OpenSale, Question, ServerPlan, Usage
from doorbuster.platform.context import Platform
from doorbuster.platform.http.server import bind, server_for
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases
from doorbuster.platform.telemetry.logs import configure_logs


class StorelessFlashSale(FlashSaleService):
    """Decides a batch and keeps nothing: the denominator of the bench.

    Left out is all that the store costs: reading allotment, counters and keys, packing rows and outbox events,
    the statements, the commit, and the way to the database's thread or socket. Everything else is the shop's own
    code: door, token, face, fast refusals, group commit, `model.decide`, ids, encoding of the answer.
    """

    async def _claim_batch(self, requests: Sequence[ClaimRequest], terms: dict[int, Terms]) -> Batch:
        views = {sale_id: self.live.known(sale_id) for sale_id in terms}
        allotments = {sale_id: view.allotment for sale_id, view in views.items() if view is not None}
        now_ms = self._platform.clock.now_ms()
        return Batch(decide(requests, terms, allotments, {}, {}, now_ms, self._platform.ids.next).outcomes, ())


async def serve(plan: ServerPlan, lines: asyncio.StreamReader) -> None:
    """Serves until `lines` ends."""
    settings = plan.settings
    platform = platform_of(settings)
    database = (await open_databases(settings.database, settings.folder, [NAME]))[NAME]
    try:
        await migrate(database, HISTORY, platform.clock.now_ms())
        kind = StorelessFlashSale if plan.store == "none" else FlashSaleService
        service = kind(platform, database, OneSku(), Plenty())
        server = server_for(_front(plan, platform, _door(plan, platform, service, database)))
        listener = bind("127.0.0.1", 0)
        watching = asyncio.create_task(service.live.watch())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        gc.collect()
        gc.freeze()  # as `serve` does
        _say(Listening(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        await _answer_questions(lines, service)
        server.should_exit = True
        await serving
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await service.close()
    finally:
        await database.close()


def _door(plan: ServerPlan, platform: Platform, service: FlashSaleService, database: Database) -> Door:
    async def not_ready() -> Sequence[str]:
        return [] if database.name else ["database"]

    settings = plan.settings.http
    route = http.claim_route(service, settings.request_timeout_s)
    api = build_api(http.routes(service, platform.clock), [route], not_ready)
    ring = KeyRing([Key.parse(plan.token_key)], platform.clock)
    return Door(api, [route], ring, settings.body_bytes_max, settings.request_timeout_s)


def _front(plan: ServerPlan, platform: Platform, door: Door) -> Door | Gateway:
    if plan.front == "door":
        return door
    settings = EVERYTHING_LOCAL if plan.front == "empty" else FULL
    ring = KeyRing([Key.parse(plan.token_key)], platform.clock)
    # The costs of a limiter and a shedder that refuse nobody: it is the way that is measured, not the verdict.
    ports = Ports(door, ring, platform.clock, {"claims": wide_limiter()}, Places(), random.Random(1))  # noqa: S311 - samples
    return Gateway(ports, lambda: settings)


async def _answer_questions(lines: asyncio.StreamReader, service: FlashSaleService) -> None:
    decoder = msgspec.json.Decoder(Question)
    while line := await lines.readline():
        question = decoder.decode(line)
        if isinstance(question, NewSale):
            _say(OpenSale(str(await open_sale(service, f"bench-{time.monotonic_ns()}"))))
        else:
            assert isinstance(question, AskUsage)
            _say(Usage(time.process_time()))


def _say(answer: Struct) -> None:
    print(msgspec.json.encode(answer).decode(), flush=True)


async def main() -> None:
    configure_logs("warning", "bench-server")
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(loop=loop)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines, loop=loop), sys.stdin)
    await serve(msgspec.json.decode(await lines.readline(), type=ServerPlan), lines)


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
