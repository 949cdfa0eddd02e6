"""city: a simulated lunch rush."""

from __future__ import annotations

from typing import Annotated

import typer

from doorbuster.apps.cli.options import Json, answer


def register(app: typer.Typer) -> None:
    app.command()(city)


def city(
    seed: Annotated[int, typer.Option(help="Orders, couriers, and their moods.")] = 1,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Means over so many seeds, from --seed on.")] = 1,
    couriers: Annotated[int, typer.Option(min=5, max=500)] = 60,
    orders: Annotated[int, typer.Option(min=1, max=5000)] = 400,
    ahead: Annotated[bool, typer.Option(help="Dispatch while orders are prepared, or only what is ready.")] = True,
    json: Json = False,
) -> None:
    """Dispatch a simulated lunch rush, next to two simpler ways on the same orders and couriers."""
    from doorbuster.lab.city.model import CityPlan
    from doorbuster.lab.city.report import mean_of, table_of
    from doorbuster.lab.city.run import compare

    plan = CityPlan(orders=orders, couriers=couriers, ahead=ahead)
    reports = [report for each in range(seed, seed + seeds) for report in compare(each, plan)]
    if seeds > 1:
        reports = mean_of(reports)
    answer({"reports": reports}, json, table_of(reports))
