"""One run of `doorbuster bench pools`, in a process of its own so that its peak of memory is nobody else's.

python -m doorbuster.lab.bench.pools_process '{"kind": …}'        prints one JSON object
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
import uvloop
from msgspec import Struct

from doorbuster.contexts.payments.http_client import HttpClient
from doorbuster.kernel.errors import Busy
from doorbuster.platform.pools import PoolSettings, WorkerPool, at_most
from doorbuster.platform.sql.postgres import PostgresDatabase

Kind = Literal["turns", "http", "database"]
Way = Literal["task_per_item", "pool", "at_most"]
Work = Callable[[int], Awaitable[object]]


class Plan(Struct, frozen=True):
    """`at_once`: places of the resource, and workers. `url`: of what is asked."""

    kind: Kind
    way: Way
    items: int
    at_once: int
    url: str = ""


class RunFigures(Struct, frozen=True):
    """`failed`: refused by the resource after its own time limit. `latency`: from an item's submission to its result,
    of those done. `age`: the same from the beginning of the run, when all items were there. `gc_us` is a part of
    `cpu_us`; both are per item. `peak_kb`: memory at its peak above what the process had before."""

    per_s: float
    done: int
    failed: int
    latency_p50_ms: float
    latency_p99_ms: float
    age_p50_ms: float
    age_p99_ms: float
    cpu_us: float
    gc_us: float
    peak_kb: float


class Stopwatch:
    """Notes when each item came and ended. Its memory is taken before the run."""

    def __init__(self, work: Work, items: int) -> None:
        self._work = work
        self.came_s, self.ended_s = array("d", bytes(8 * items)), array("d", bytes(8 * items))
        self.failed = 0

    def came(self, number: int) -> int:
        self.came_s[number] = time.perf_counter()
        return number

    async def __call__(self, number: int) -> None:
        try:
            await self._work(number)
        except Busy:
            self.failed += 1
            return
        self.ended_s[number] = time.perf_counter()


async def task_per_item(plan: Plan, watch: Stopwatch) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(plan.items):
            tasks.create_task(watch(watch.came(number)))


async def by_pool(plan: Plan, watch: Stopwatch) -> None:
    async with WorkerPool(
        watch, PoolSettings(workers=plan.at_once, waiting_max=plan.at_once, drain_ms=600_000)
    ) as pool:
        for number in range(plan.items):
            await pool.submit(watch.came(number))  # came before it waits for a place


async def by_at_most(plan: Plan, watch: Stopwatch) -> None:
    await at_most(plan.at_once, map(watch.came, range(plan.items)), watch)


WAYS: dict[Way, Callable[[Plan, Stopwatch], Awaitable[None]]] = {
    "task_per_item": task_per_item,
    "pool": by_pool,
    "at_most": by_at_most,
}


@asynccontextmanager
async def resource(plan: Plan) -> AsyncGenerator[Work]:
    """Something with `at_once` places that everybody waits for."""
    if plan.kind == "turns":
        places = asyncio.Semaphore(plan.at_once)

        async def take_a_turn(_: int) -> None:
            async with places:
                await asyncio.sleep(0)

        yield take_a_turn
    elif plan.kind == "http":
        client = HttpClient(plan.url, plan.at_once)
        try:
            yield lambda number: client.request("GET", f"/{number}")
        finally:
            await client.close()
    else:
        database = PostgresDatabase("bench", plan.url, plan.at_once)
        try:
            yield lambda _: database.read(lambda tx: tx.rows("SELECT 1"))
        finally:
            await database.close()


async def run(plan: Plan) -> RunFigures:
    async with resource(plan) as work:
        await at_most(plan.at_once, range(10 * plan.at_once), work)  # connections and caches are there
        watch = Stopwatch(work, plan.items)
        gc.collect()
        collecting = _GcTime()
        gc.callbacks.append(collecting)
        before_kb, begun_s, cpu_s = _peak_kb("VmRSS"), time.perf_counter(), time.process_time()
        await WAYS[plan.way](plan, watch)
        took_s, cpu_s = time.perf_counter() - begun_s, time.process_time() - cpu_s
        peak_kb = _peak_kb("VmHWM")
        gc.callbacks.remove(collecting)
    done = [number for number in range(plan.items) if watch.ended_s[number]]
    latency_p50, latency_p99 = _percentiles([watch.ended_s[n] - watch.came_s[n] for n in done])
    age_p50, age_p99 = _percentiles([watch.ended_s[n] - begun_s for n in done])
    return RunFigures(
        per_s=len(done) / took_s,
        done=len(done),
        failed=watch.failed,
        latency_p50_ms=latency_p50,
        latency_p99_ms=latency_p99,
        age_p50_ms=age_p50,
        age_p99_ms=age_p99,
        cpu_us=cpu_s / plan.items * 1e6,
        gc_us=collecting.spent_s / plan.items * 1e6,
        peak_kb=max(0.0, peak_kb - before_kb),
    )


class _GcTime:
    """Processor time that the collector takes of the run."""

    def __init__(self) -> None:
        self.spent_s = self._since_s = 0.0

    def __call__(self, phase: str, _: object) -> None:
        if phase == "start":
            self._since_s = time.process_time()
        else:
            self.spent_s += time.process_time() - self._since_s


def _peak_kb(field: str) -> float:
    """Resident memory as the system counts it, now (VmRSS) or at its peak (VmHWM). Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


def _percentiles(times_s: list[float]) -> tuple[float, float]:
    """(p50, p99) in milliseconds."""
    times_s.sort()
    if not times_s:
        return 0.0, 0.0
    return times_s[len(times_s) // 2] * 1000, times_s[len(times_s) * 99 // 100] * 1000


def main() -> None:
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run(plan))
    sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")


if __name__ == "__main__":
    main()
