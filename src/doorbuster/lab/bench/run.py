"""`doorbuster bench`: every measurement, one after the other, and nothing else meanwhile."""

from __future__ import annotations

import gc
from collections.abc import Callable

from doorbuster.lab.bench.consumer import CLAIMS, measure_consumer
from doorbuster.lab.bench.hot_sku import measure_hot_sku
from doorbuster.lab.bench.http_claims import measure_http
from doorbuster.lab.bench.machine import describe_durability, describe_machine
from doorbuster.lab.bench.result import BenchResult
from doorbuster.lab.bench.start import measure_start
from doorbuster.lab.bench.stores import Stores, run_on_stores

ROUNDS = 3


def run_bench(seconds: float, postgres_url: str | None, say: Callable[[str], None]) -> BenchResult:
    """Measures for `seconds` per figure, in ROUNDS interleaved rounds.

    PostgreSQL is the one at `postgres_url`, else one found on the machine; without any its figures are skipped.
    Raises ShopFailed (a server died or did not start), NotDurable, Unavailable, OSError.
    """
    return run_on_stores(postgres_url, lambda stores: _measure(stores, seconds, say))


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
