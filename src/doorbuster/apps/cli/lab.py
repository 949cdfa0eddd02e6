"""demo, stampede, payment-simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from doorbuster.apps.cli.options import Data, Json, answer, run


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(stampede)
    app.command(name="payment-simulator", add_help_option=False, context_settings=_PASS_ON)(payment_simulator)


_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def demo(
    exit_: Annotated[bool, typer.Option("--exit", help="End after the verdict instead of staying open.")] = False,
    buyers: Annotated[int, typer.Option(min=100, max=200_000)] = 20_000,
    units: Annotated[int, typer.Option(min=10, max=100_000)] = 500,
    seed: Annotated[int, typer.Option(help="Who double-clicks, cheats, and never pays.")] = 1,
    crowd: Annotated[
        int,
        typer.Option(min=0, max=20_000, help="Accounts at the door in the third act, at least 400; 0 leaves it out."),
    ] = 1_500,
    data: Data = None,
    json: Json = False,
) -> None:
    """A flash sale and every order's whole life, from opening to audit: embedded stores, real HTTP and SMTP."""
    from doorbuster.lab.demo.run import CROWD_MIN, DemoPlan, run_demo

    if 0 < crowd < CROWD_MIN:
        raise typer.BadParameter(f"0, or at least {CROWD_MIN}", param_hint="--crowd")

    folder = Path(data) if data else None
    plan = DemoPlan(buyers=buyers, units=units, seed=seed, crowd=crowd, folder=folder, stay_open=not exit_)
    verdict = run(run_demo(plan))
    if json:
        answer(verdict, as_json=True, words="")
    if not verdict.ok:
        raise typer.Exit(1)


def stampede(
    base_url: Annotated[str, typer.Argument(help="Where the shop is, e.g. http://127.0.0.1:8000")],
    sale: Annotated[str, typer.Option(help="The id of the sale.")],
    buyers: Annotated[Path, typer.Option(help="Ids and tokens, from: doorbuster buyers create")] = Path("buyers.jsonl"),
    rate: Annotated[float | None, typer.Option(help="Arrivals per second.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds; with --rate, buyers come round again.")] = None,
    arrivals: Annotated[int | None, typer.Option(help="How many arrive. [default: every buyer once]")] = None,
    quantity: Annotated[int, typer.Option(min=1)] = 1,
    connections: Annotated[int, typer.Option(min=1)] = 256,
    timeout: Annotated[float, typer.Option(help="Seconds until an answer counts as unknown.")] = 5.0,
    spacing: Annotated[str, typer.Option(help="uniform or poisson")] = "poisson",
    double_clicks: Annotated[float, typer.Option(min=0, max=1)] = 0.2,
    cheats: Annotated[float, typer.Option(min=0, max=1)] = 0.05,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Send a crowd at a sale, at a fixed rate whatever the server does, and check every promise it made."""
    from doorbuster.lab.demo.view import LiveView
    from doorbuster.lab.stampede import Plan, load_buyers
    from doorbuster.lab.stampede import run as run_stampede

    if spacing not in ("uniform", "poisson"):
        raise typer.BadParameter("uniform or poisson", param_hint="--spacing")
    pace: Literal["uniform", "poisson"] = "poisson" if spacing == "poisson" else "uniform"
    crowd = load_buyers(buyers)
    plan = Plan(
        base_url=base_url,
        sale_id=sale,
        quantity=quantity,
        arrivals=arrivals,
        rate_per_s=rate if rate or duration else 1000.0,
        duration_s=duration,
        spacing=pace,
        connections=connections,
        timeout_s=timeout,
        seed=seed,
        double_click_share=double_clicks,
        cheat_share=cheats,
    )
    with LiveView() as view:
        report = run(run_stampede(plan, crowd, view.progress))
    words = (
        f"{report.sent} sent, {report.claimed} claimed, {report.sold_out} sold out, {report.limited} over limit, "
        f"{report.errors} errors\n"
        f"{report.per_s:.0f} answers/s, p50 {report.p50_ms:.1f} ms, p99 {report.p99_ms:.1f} ms\n"
        f"lost {report.lost}, phantom {report.phantom}, oversold {report.oversold}, unknown {report.unknown}"
    )
    answer(report, json, words)
    if not report.ok:
        raise typer.Exit(1)


def payment_simulator(context: typer.Context) -> None:
    """A payment provider that misbehaves on request, as a server of its own (see --help)."""
    from doorbuster.lab.payment_simulator.__main__ import main

    raise typer.Exit(main(context.args))
