"""The checkout's figures for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from doorbuster.lab.bench.table import Json, circumstances

PROCESSES = ("door", "back_room", "postgres", "provider", "client")


def checkout_table(result: Json) -> str:
    """`result` is what `CheckoutReport.as_json` gives."""
    return "\n".join([*_checkout(result["checkout"]), "", *_rush(result["rush"]), "", *circumstances(result)])


def _checkout(figures: Json) -> Iterable[str]:
    yield "A whole checkout of a guest over HTTP on PostgreSQL, 64 shoppers, counted when the order's page says paid"
    whole = f"p50 {figures['checkout_p50_ms']:.0f} ms, p99 {figures['checkout_p99_ms']:.0f} ms"
    yield f"  {figures['orders_per_s']:.0f} per s, {whole}, {figures['orders']} orders, failed: {figures['failed']}"
    shop, in_all = figures["cpu_us_of_shop"], figures["cpu_us_in_all"]
    yield f"  processor time per order: {shop:.0f} µs of shop and database, {in_all:.0f} µs with provider and client"
    yield f"  {'µs of cpu by step':20} {'p50 ms':>7} " + " ".join(f"{name:>9}" for name in PROCESSES)
    for step, of in figures["step_cpu_us"].items():
        p50_ms = figures["step_p50_ms"].get(step)
        shown = "" if p50_ms is None else f"{p50_ms:.1f}"
        yield f"  {step:20} {shown:>7} " + " ".join(f"{of[name]:9.0f}" for name in PROCESSES)
    yield f"  {'all at once':20} {'':>7} " + " ".join(f"{figures['cpu_us'][name]:9.0f}" for name in PROCESSES)


def _rush(figures: Json) -> Iterable[str]:
    yield f"{figures['buyers']} buyers at once for {figures['units']} units"
    refused = ", ".join(f"{count} {slug}" for slug, count in figures["refused"].items())
    yield f"  {figures['settled']} settled, refused: {refused or 'none'}, without a clear answer: {figures['unclear']}"
    yield f"  charged and refunded: {figures['charged_and_refunded']}, left in stock: {figures['available_after']}"
