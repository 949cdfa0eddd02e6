"""A result as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Json = Mapping[str, Any]


def table_of(result: Json) -> str:
    """The whole result; `result` is what `BenchResult.as_json` gives."""
    lines = [
        *_http(result["http"], result["ratios"]),
        "",
        *_hot_sku(result["hot_sku"], result["ratios"]["hot_sku"]),
        "",
        *_consumer(result["consumer"]),
        "",
        *_start(result["start"]),
        "",
        *circumstances(result),
    ]
    return "\n".join(lines)


def _http(figures: Json, ratios: Json) -> Iterable[str]:
    yield "Durable claims over HTTP, one server process, 64 connections, 201s only (medians of rounds)"
    yield f"  {'store':10} {'per s':>8} {'p50 ms':>7} {'p99 ms':>7} {'µs cpu/claim':>13} {'cores':>6}  ratio  by cpu"
    for store, of in figures.items():
        if "skipped" in of:
            yield f"  {store:10} skipped: {of['skipped']}"
            continue
        pair = f"{store}/none"
        ratio = f"{ratios['http'][pair]:6.2f} {ratios['http_cpu'][pair]:7.2f}" if pair in ratios["http"] else ""
        database = f"  (+ {of['postgres_cpu_us']:.0f} µs in PostgreSQL)" if of["postgres_cpu_us"] else ""
        yield (
            f"  {store:10} {of['per_s']:8.0f} {of['p50_ms']:7.2f} {of['p99_ms']:7.2f} {of['cpu_us']:13.1f} "
            f"{of['cores']:6.2f} {ratio}{database}"
        )


def _hot_sku(figures: Json, ratios: Json) -> Iterable[str]:
    yield "One hot SKU, 16 clients, in process (medians of rounds)"
    yield f"  {'store':10} {'strategy':13} {'per s':>8} {'repeats/claim':>14}  group commit is"
    for engine, strategies in figures.items():
        if "skipped" in strategies:
            yield f"  {engine:10} skipped: {strategies['skipped']}"
            continue
        for strategy, of in strategies.items():
            ratio = ratios[engine].get(f"group_commit/{strategy}")
            times = f"  {ratio:.1f} times as fast" if ratio else ""
            yield f"  {engine:10} {strategy:13} {of['per_s']:8.0f} {of['lost_races']:14.2f}{times}"


def _consumer(figures: Json) -> Iterable[str]:
    yield "Orders written by the consumer of claims"
    for engine, of in figures.items():
        if "skipped" in of:
            yield f"  {engine:10} skipped: {of['skipped']}"
            continue
        cpu = f"{of['cpu_us']:.0f} µs cpu per order"
        yield f"  {engine:10} {of['orders_per_s']:8.0f} per s, {cpu}, {of['orders']} orders"


def _start(start: Json) -> Iterable[str]:
    memory = ", ".join(f"{name} {mb:.0f} MB" for name, mb in start["rss_mb"].items())
    yield f"Start to ready {start['ready_s']:.2f} s (first start, with migrations, {start['first_s']:.2f} s)"
    yield f"Idle {start['rss_mb_in_all']:.0f} MB: {memory}"


def circumstances(result: Json) -> Iterable[str]:
    """Where and how, and what is wrong; the last lines of every table."""
    machine = result["machine"]
    size = f"{machine['cores']} cores, {machine['memory_gb']} GB"
    yield f"{machine['cpu']}, {size}, {machine['system']}, Python {machine['python']}"
    yield f"load average before: {machine['load_before']}"
    if "durability" in result:
        durability = result["durability"]
        yield f"a flush to disk takes {durability['flush_us']:.0f} µs"
        yield f"SQLite {machine['versions']['sqlite']}: {durability['sqlite']}"
        yield f"PostgreSQL: {durability['postgres']}"
    yield result["command"]
    yield from (f"BROKEN: {breach}" for breach in result["breaches"])
