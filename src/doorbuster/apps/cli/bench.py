"""bench: measurements on this machine. Each is a command: a function here that hands its report to `_finish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from doorbuster.apps.cli.options import Json, answer, say

if TYPE_CHECKING:
    from doorbuster.lab.bench.report import Report

app = typer.Typer()

Seconds = Annotated[float, typer.Option(min=1, max=300, help="Behind each figure, in three rounds.")]
Postgres = Annotated[
    str | None, typer.Option(help="postgresql://… to measure on. [default: one found on the machine, if any]")
]
Redis = Annotated[
    str | None,
    typer.Option(help="redis://… that nobody uses. [default: one found on the machine, if any]"),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the JSON file and the chart.")]

_DRAWS = [20_000, 100_000]
"""What a rush brings, and the most that a room takes."""


def _finish(report: Report, out: Path | None, json: bool) -> None:
    """Files, the answer, and the exit status: 1 if rows contradict what was answered."""
    from doorbuster.lab.bench.report import write_files

    if out is not None:
        write_files(report, out)
    answer(report.as_json(), json, report.table())
    if not report.ok:
        raise typer.Exit(1)


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context, seconds: Seconds = 15.0, postgres: Postgres = None, out: Out = None, json: Json = False
) -> None:
    """Alone: durable claims over HTTP, and three ways to sell one hot SKU, side by side. Or one of these commands."""
    from doorbuster.lab.bench.run import run_bench

    if context.invoked_subcommand is None:
        _finish(run_bench(seconds, postgres, say), out, json)


@app.command()
def strategies(
    seconds: Seconds = 6.0,
    postgres: Postgres = None,
    redis: Redis = None,
    store: Annotated[Literal["all", "postgres", "sqlite"], typer.Option(help="Where stock is kept.")] = "all",
    out: Out = None,
    json: Json = False,
) -> None:
    """The five ways to deduct stock, on one hot SKU and on a thousand, side by side on equal durability."""
    from doorbuster.lab.bench.strategies import run_strategies

    _finish(run_strategies(seconds, store, postgres, redis, say), out, json)


@app.command()
def checkout(
    seconds: Annotated[float, typer.Option(min=1, max=300, help="Of shopping.")] = 10.0,
    postgres: Postgres = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Whole checkouts of guests over HTTP on PostgreSQL, step by step, and 300 buyers at once for 100 units."""
    from doorbuster.lab.bench.checkout import Size, measure_checkout
    from doorbuster.lab.bench.stores import run_on_stores

    command, size = f"doorbuster bench checkout --seconds {seconds:g}", Size(seconds)
    _finish(run_on_stores(postgres, lambda stores: measure_checkout(stores, size, command, say)), out, json)


@app.command()
def dispatch(
    tasks: Annotated[int, typer.Option(min=1, max=100_000)] = 10_000,
    couriers: Annotated[int, typer.Option(min=1, max=20_000)] = 2_000,
    rounds: Annotated[int, typer.Option(min=1, max=100)] = 3,
    seed: int = 1,
    out: Out = None,
    json: Json = False,
) -> None:
    """One round of dispatch at full size on one core, next to nearest-first and chance."""
    from doorbuster.lab.bench.dispatch import measure_dispatch

    command = f"doorbuster bench dispatch --tasks {tasks} --couriers {couriers} --rounds {rounds} --seed {seed}"
    _finish(measure_dispatch(tasks, couriers, seed, rounds, command, say), out, json)


@app.command()
def draw(
    tickets: Annotated[list[int], typer.Option(min=1, max=100_000, help="May be given more than once.")] = _DRAWS,
    rounds: Annotated[int, typer.Option(min=1, max=20)] = 3,
    postgres: Postgres = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """The draw of a full waiting room: how long it takes, and how late the event loop comes meanwhile."""
    from doorbuster.lab.bench.draw import measure_draw
    from doorbuster.lab.bench.stores import run_on_stores

    sizes = "".join(f" --tickets {size}" for size in tickets)
    command = f"doorbuster bench draw{sizes} --rounds {rounds}"
    _finish(run_on_stores(postgres, lambda stores: measure_draw(stores, tickets, rounds, command, say)), out, json)


@app.command()
def gateway(
    seconds: Annotated[float, typer.Option(min=0.2, max=60, help="Of each round.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, max=50)] = 5,
    out: Out = None,
    json: Json = False,
) -> None:
    """What the gateway costs a claim: behind the door alone, an empty gateway, and one with everything."""
    from doorbuster.lab.bench.gateway import measure_gateway
    from doorbuster.lab.bench.stores import run_on_stores

    command = f"doorbuster bench gateway --seconds {seconds:g} --rounds {rounds}"
    _finish(run_on_stores(None, lambda stores: measure_gateway(stores, seconds, rounds, command, say)), out, json)


@app.command("slow-clients")
def slow_clients(
    clients: Annotated[int, typer.Option(min=3, max=4_000)] = 1_000,
    per_s: Annotated[float, typer.Option(min=1, max=10_000, help="Claims of the others.")] = 500.0,
    seconds: Annotated[float, typer.Option(min=0.2, max=300, help="Of each window.")] = 20.0,
    rounds: Annotated[int, typer.Option(min=1, max=50)] = 3,
    out: Out = None,
    json: Json = False,
) -> None:
    """What clients that send and read as slowly as they can do to the p99 of the others."""
    from doorbuster.lab.bench.slow_clients import measure_slow_clients
    from doorbuster.lab.bench.stores import run_on_stores

    command = (
        f"doorbuster bench slow-clients --clients {clients} --per-s {per_s:g} --seconds {seconds:g} --rounds {rounds}"
    )
    report = run_on_stores(
        None, lambda stores: measure_slow_clients(stores, clients, per_s, seconds, rounds, command, say)
    )
    _finish(report, out, json)


@app.command()
def cache(
    products: Annotated[int, typer.Option(min=10, max=1_000_000)] = 100_000,
    requests: Annotated[int, typer.Option(min=100, max=10_000_000)] = 60_000,
    seed: int = 1,
    postgres: Postgres = None,
    redis: Redis = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Reads of products by popularity with one write in a hundred: how many the cache keeps from the database."""
    from doorbuster.lab.bench.cache import measure_cache
    from doorbuster.lab.bench.stores import run_on_stores
    from doorbuster.lab.bench.strategies import find_redis

    command = f"doorbuster bench cache --products {products} --requests {requests} --seed {seed}"
    with find_redis(redis) as found:
        report = run_on_stores(
            postgres, lambda stores: measure_cache(stores, found, products, requests, seed, command, say)
        )
    _finish(report, out, json)


@app.command()
def overload(
    seconds: Annotated[float, typer.Option(min=1, max=300, help="Behind each load.")] = 8.0,
    shedding: Annotated[bool, typer.Option(help="Off: what happens without it.")] = True,
    out: Out = None,
    json: Json = False,
) -> None:
    """A shop on SQLite at 1, 2, 5 and 10 times its capacity: what was answered in time, refusals, recovery."""
    from doorbuster.lab.bench.overload import measure_overload
    from doorbuster.lab.bench.stores import run_on_stores

    command = f"doorbuster bench overload --seconds {seconds:g}{'' if shedding else ' --no-shedding'}"
    _finish(
        run_on_stores(None, lambda stores: measure_overload(stores, seconds, {"enabled": shedding}, command, say)),
        out,
        json,
    )


@app.command()
def pools(
    items: Annotated[int, typer.Option(min=100, max=1_000_000)] = 20_000,
    seconds: Annotated[float, typer.Option(min=0, max=600, help="Of rounds on each kind of work.")] = 20.0,
    postgres: Postgres = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """A pool of workers against a task for each item, where all wait for a place: throughput, memory, latency."""
    from doorbuster.lab.bench.pools import measure_pools
    from doorbuster.lab.bench.stores import run_on_stores

    command = f"doorbuster bench pools --items {items} --seconds {seconds:g}"
    _finish(run_on_stores(postgres, lambda stores: measure_pools(stores, items, seconds, command, say)), out, json)
