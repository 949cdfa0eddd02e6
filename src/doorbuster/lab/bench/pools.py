"""A pool of workers against a task for each item, on work that waits for a bounded resource.

Three kinds of work, each with as many places as workers: `turns`, a semaphore and one round of the loop, so that
nothing but the machinery is measured; `http`, requests to a server in another process by the payments' client;
`database`, reads by the shop's own connection pool, which refuses who waits too long. Each run is a process of its own;
the ways take turns, and the figures are medians of the rounds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from statistics import median
from typing import Any, ClassVar, cast

import msgspec
from msgspec import Struct

from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.pools_process import WAYS, Kind, Plan, RunFigures, Way
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.stores import Skipped, Stores
from doorbuster.lab.bench.table import circumstances

PLACES: Mapping[Kind, int] = {"turns": 16, "http": 16, "database": 8}
HEADLINE: Kind = "http"
"""Realistic, and there on every machine."""
ROUNDS_MAX = 20
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Compared(Struct, frozen=True):
    """The pool's figure divided by the task per item's; latency is the p99. `age`: from when all items were there.
    `cpu_ratio`: the task per item's processor time divided by the pool's, so what throughput comes to where nothing but
    the core is short; steadier on a busy machine."""

    throughput_ratio: float
    cpu_ratio: float
    memory_ratio: float
    latency_ratio: float
    age_ratio: float
    rounds: int
    ways: Mapping[Way, RunFigures]


class PoolsReport(Measured, frozen=True, kw_only=True):
    """What `doorbuster bench pools` found. The ratios on top are those of `http`."""

    name: ClassVar[str] = "pools"
    items: int
    throughput_ratio: float
    memory_ratio: float
    latency_ratio: float
    kinds: Mapping[Kind, Compared | Skipped]

    def table(self) -> str:
        lines = [f"{self.items} items that wait for a bounded resource (medians of rounds)"]
        for kind, of in self.kinds.items():
            if isinstance(of, Skipped):
                lines.append(f"  {kind}: skipped: {of.skipped}")
                continue
            lines.append(
                f"  {kind}: {PLACES[kind]} places; pool to task per item: throughput {of.throughput_ratio:.2f} "
                f"(by processor time {of.cpu_ratio:.2f}), memory {of.memory_ratio:.4f}, "
                f"p99 latency {of.latency_ratio:.4f}, p99 age {of.age_ratio:.2f}"
            )
            lines.append(
                f"    {'':14} {'per s':>8} {'failed':>7} {'peak kB':>8} {'p50 ms':>8} {'p99 ms':>8} {'age p99':>8} "
                f"{'cpu µs':>7} {'gc µs':>6}"
            )
            for way, run in of.ways.items():
                lines.append(
                    f"    {way:14} {run.per_s:8.0f} {run.failed:7} {run.peak_kb:8.0f} {run.latency_p50_ms:8.2f} "
                    f"{run.latency_p99_ms:8.2f} {run.age_p99_ms:8.0f} {run.cpu_us:7.1f} {run.gc_us:6.1f}"
                )
        return "\n".join([*lines, "", *circumstances(self.as_json())])


async def measure_pools(
    stores: Stores, items: int, seconds: float, command: str, say: Callable[[str], None]
) -> PoolsReport:
    """Rounds of all ways go on for about so many seconds on each kind of work; one round at least."""
    machine = describe_machine()
    kinds: dict[Kind, Compared | Skipped] = {}
    kinds["turns"] = await _compare("turns", items, "", seconds, say)
    async with _server() as url:
        kinds["http"] = top = await _compare("http", items, url, seconds, say)
    if stores.postgres is None:
        kinds["database"] = Skipped(stores.missing)
    else:
        async with stores.fresh("postgres") as settings:
            kinds["database"] = await _compare("database", items, settings.database.url, seconds, say)
    return PoolsReport(
        machine=machine,
        command=command,
        breaches=[breach for kind, of in kinds.items() for breach in _breaches(kind, of, items)],
        items=items,
        throughput_ratio=top.throughput_ratio,
        memory_ratio=top.memory_ratio,
        latency_ratio=top.latency_ratio,
        kinds=kinds,
    )


def _breaches(kind: Kind, of: Compared | Skipped, items: int) -> list[str]:
    """Every item has an end; only the database has a time limit by which it may be refused."""
    if isinstance(of, Skipped):
        return []
    lost = [
        f"{kind}: {way} lost {items - run.done - run.failed} items"
        for way, run in of.ways.items()
        if run.done + run.failed != items
    ]
    refused = [f"{kind}: {way} was refused" for way, run in of.ways.items() if run.failed and kind != "database"]
    return lost + refused


async def _compare(kind: Kind, items: int, url: str, seconds: float, say: Callable[[str], None]) -> Compared:
    found: dict[Way, list[RunFigures]] = {way: [] for way in WAYS}
    until_s = time.monotonic() + seconds
    rounds = 0
    while rounds < ROUNDS_MAX and (not rounds or time.monotonic() < until_s):
        for way in WAYS:
            found[way].append(await _in_a_process(Plan(kind, way, items, PLACES[kind], url)))
        rounds += 1
    ways: dict[Way, RunFigures] = {way: _median_of(runs) for way, runs in found.items()}
    pool, tasks = ways["pool"], ways["task_per_item"]
    say(f"{kind}: {pool.per_s:.0f}/s by the pool, {tasks.per_s:.0f}/s by a task for each item")
    return Compared(
        throughput_ratio=pool.per_s / max(tasks.per_s, 1e-9),
        cpu_ratio=tasks.cpu_us / max(pool.cpu_us, 1e-9),
        memory_ratio=pool.peak_kb / max(tasks.peak_kb, 1.0),
        latency_ratio=pool.latency_p99_ms / max(tasks.latency_p99_ms, 1e-9),
        age_ratio=pool.age_p99_ms / max(tasks.age_p99_ms, 1e-9),
        rounds=rounds,
        ways=ways,
    )


def _median_of(runs: list[RunFigures]) -> RunFigures:
    """Of each figure for itself; `done` and `failed` of one run, so that they add up."""
    middle = sorted(runs, key=lambda run: run.done)[len(runs) // 2]
    figures: dict[str, Any] = {
        name: median(getattr(run, name) for run in runs) for name in RunFigures.__struct_fields__
    }
    return RunFigures(**figures | {"done": middle.done, "failed": middle.failed})


async def _in_a_process(plan: Plan) -> RunFigures:
    """Raises RuntimeError when the process fails; its words are on standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doorbuster.lab.bench.pools_process", msgspec.json.encode(plan).decode()),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        answer, _ = await process.communicate()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"a run of the bench ended with status {process.returncode}: {plan}")
    return msgspec.json.decode(answer, type=RunFigures)


class _Answering(asyncio.Protocol):
    """A server that answers every request at once: what is left is what the client does."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is not derived from it

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *whole, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write(ANSWER * len(whole))


@asynccontextmanager
async def _server() -> AsyncGenerator[str]:
    server = await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
