"""`doorbuster bench`: every measurement, one after the other, and nothing else meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path

import msgspec

from doorbuster.lab.bench.chart import chart_of
from doorbuster.lab.bench.consumer import CLAIMS, measure_consumer
from doorbuster.lab.bench.hot_sku import measure_hot_sku
from doorbuster.lab.bench.http_claims import measure_http
from doorbuster.lab.bench.machine import describe_durability, describe_machine
from doorbuster.lab.bench.result import BenchResult
from doorbuster.lab.bench.start import measure_start
from doorbuster.lab.bench.stores import Stores, open_stores

ROUNDS = 3
JSON_FILE, CHART_FILE = "bench.json", "bench.svg"


def run_bench(seconds: float, postgres_url: str | None, out: Path | None, say: Callable[[str], None]) -> BenchResult:
    """Measures for `seconds` per figure, in ROUNDS interleaved rounds; writes JSON and chart to `out` if given.

    PostgreSQL is the one at `postgres_url`, else one found on the machine; without any its figures are skipped.
    Raises ShopFailed (a server died or did not start), NotDurable, Unavailable, OSError.
    """
    import uvloop

    with open_stores(postgres_url) as stores, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_measure(stores, seconds, say))
    if out is not None:
        write_files(result, out)
    return result


async def _measure(stores: Stores, seconds: float, say: Callable[[str], None]) -> BenchResult:
    machine = describe_machine()
    durability = await describe_durability(stores)
    start = await measure_start(stores, say)
    http = await measure_http(stores, seconds / ROUNDS, ROUNDS, say)
    gc.collect()  # a crowd of tokens is not carried into the next measurement
    hot_sku = await measure_hot_sku(stores, seconds / ROUNDS, ROUNDS, say)
    consumer = await measure_consumer(stores, CLAIMS, say)
    return BenchResult(
        http=http.figures,
        hot_sku=hot_sku.figures,
        consumer=consumer.figures,
        start=start,
        machine=machine,
        durability=durability,
        command=f"doorbuster bench --seconds {seconds:g}",
        breaches=[*http.breaches, *hot_sku.breaches, *consumer.breaches],
    )


def write_files(result: BenchResult, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = result.as_json()
    (folder / JSON_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
    (folder / CHART_FILE).write_text(chart_of(content), "utf-8")
