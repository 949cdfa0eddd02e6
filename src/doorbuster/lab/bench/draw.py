"""The draw of a waiting room: how long its one transaction takes, and how late the event loop comes meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from msgspec import Struct

from doorbuster.contexts.waiting_room import store
from doorbuster.contexts.waiting_room.drawing import draw
from doorbuster.contexts.waiting_room.model import Room, Ticket, drawn_order
from doorbuster.contexts.waiting_room.wiring import HISTORY
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.stores import ENGINES, Engine, Stores
from doorbuster.lab.bench.table import circumstances
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.migrations import migrate
from doorbuster.platform.sql.open import open_databases

SALE_ID, OPENS_MS = 1, 1_000_000
BATCH = 1_000
LATE_EVERY = 10
"""One in so many comes after the opening."""
SAMPLE_S = 0.005


class Drawn(Struct, frozen=True):
    """`lag_ms`: the latest that the event loop came while the transaction ran."""

    store: Engine
    tickets: int
    seconds: float
    lag_ms: float


class DrawReport(Measured, frozen=True, kw_only=True):
    """What `doorbuster bench draw` found. Void unless the places are what the seed says."""

    name: ClassVar[str] = "draw"
    draws: Sequence[Drawn]

    def table(self) -> str:
        lines = ["The draw of a waiting room, one transaction (medians of rounds; the lag is the worst of them)"]
        lines.append(f"  {'store':10} {'tickets':>8} {'seconds':>8} {'loop lag ms':>12}")
        lines += [f"  {of.store:10} {of.tickets:8} {of.seconds:8.2f} {of.lag_ms:12.1f}" for of in self.draws]
        return "\n".join([*lines, "", *circumstances(self.as_json())])


async def measure_draw(
    stores: Stores, sizes: Sequence[int], rounds: int, command: str, say: Callable[[str], None]
) -> DrawReport:
    machine = describe_machine()
    draws: list[Drawn] = []
    breaches: list[str] = []
    for engine in ENGINES:
        for tickets in sizes if engine in stores.engines else ():
            found = [await _draw_once(stores, engine, tickets, breaches) for _ in range(rounds)]
            found.sort(key=lambda each: each.seconds)
            median, lag_ms = found[rounds // 2].seconds, max(each.lag_ms for each in found)
            draws.append(Drawn(engine, tickets, median, lag_ms))
            say(f"draw of {tickets} on {engine} {median:.2f} s")
    return DrawReport(machine=machine, command=command, breaches=breaches, draws=draws)


async def _draw_once(stores: Stores, engine: Engine, tickets: int, breaches: list[str]) -> Drawn:
    async with stores.fresh(engine) as settings:
        database = (await open_databases(settings.database, settings.folder, ["waiting_room"]))["waiting_room"]
        try:
            await migrate(database, HISTORY, OPENS_MS)
            room = await _full_room(database, tickets)
            lags: list[float] = []
            watching = asyncio.create_task(_watch_lag(lags))
            began_s = time.perf_counter()
            places, lot = await database.write(lambda tx: draw(tx, room))
            seconds = time.perf_counter() - began_s
            await asyncio.sleep(2 * SAMPLE_S)  # the sample that is under way
            watching.cancel()
            found = await database.read(lambda tx: store.page_of_places(tx, SALE_ID, 0, tickets))
            ordered, by_lot = drawn_order(room.seed, _arrivals(tickets), OPENS_MS)
            if (places, lot) != (tickets, by_lot) or found != list(enumerate(ordered, 1)):
                breaches.append(f"{engine}: the places of {tickets} are not what the seed says")
            return Drawn(engine, tickets, seconds, max(lags) * 1000)
        finally:
            await database.close()


async def _full_room(database: Database, tickets: int) -> Room:
    counts = dict.fromkeys(
        ("places", "lot", "released", "used", "used_counted", "expired", "ticked_ms", "rate", "flow", "used_flow"), 0
    )
    room = Room(
        sale_id=SALE_ID,
        merchant_id=1,
        enabled=True,
        title="Desk lamp / 台灯",
        opens_ms=OPENS_MS,
        closes_ms=2 * OPENS_MS,
        seed=hashlib.sha256(b"bench").digest(),
        version=1,
        arrivals=tickets,
        drawn_ms=None,
        credit=0,
        releaser="",
        lease_until_ms=0,
        **counts,
    )
    await database.write(lambda tx: store.insert_room(tx, room))
    arrivals = _arrivals(tickets)
    for begin in range(0, tickets, BATCH):

        def work(tx: Tx, batch: Sequence[tuple[int, int, int]] = arrivals[begin : begin + BATCH]) -> None:
            store.insert_tickets(
                tx, [Ticket(at, SALE_ID, number, number, None, "waiting", ms, None, None) for at, number, ms in batch]
            )

        await database.write(work)
    return room


def _arrivals(tickets: int) -> list[tuple[int, int, int]]:
    """(ticket, number, arrived), with ids as long as those of the shop."""
    return [
        ((1 << 60) + 4_096 * number, number, OPENS_MS + (1 if number % LATE_EVERY == 0 else -1))
        for number in range(1, tickets + 1)
    ]


async def _watch_lag(lags: list[float]) -> None:
    """How late the loop comes, again and again until cancelled."""
    while True:
        due_s = time.perf_counter() + SAMPLE_S
        await asyncio.sleep(SAMPLE_S)
        lags.append(time.perf_counter() - due_s)
