"""Whole checkouts over HTTP: counted from the orders' own pages, told apart by step, and the rush at a few units."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doorbuster.lab.bench.checkout import CheckoutReport, Size, measure_checkout
from doorbuster.lab.bench.meter import spent_us
from doorbuster.lab.bench.report import write_files
from doorbuster.lab.bench.rush import RushFigures
from doorbuster.lab.bench.shopper import STEPS
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table_of_checkout import PROCESSES
from doorbuster.lab.postgres_server import NoPostgres
from postgres_server import PostgresServer

BUYERS, UNITS = 45, 15


@pytest.fixture
async def report(tmp_path: Path, postgres: PostgresServer) -> CheckoutReport:
    size = Size(seconds=0.3, warm_up_s=0.1, stepped=12, rush_buyers=BUYERS, rush_units=UNITS)
    return await measure_checkout(Stores(tmp_path, postgres), size, "doorbuster bench checkout", lambda _: None)


async def test_orders_settle_and_in_the_rush_every_unit_is_sold_once(report: CheckoutReport, tmp_path: Path) -> None:
    assert report.ok, report.breaches  # the rows: paid orders are those that were told so, and the shop's audit holds
    assert report.rush == RushFigures(
        buyers=BUYERS,
        units=UNITS,
        settled=UNITS,
        refused={"out-of-stock": BUYERS - UNITS},
        charged_and_refunded=0,
        unclear=0,
        available_after=0,
    )
    figures = report.checkout
    assert figures.orders > 0
    assert figures.failed == {}
    assert set(figures.step_p50_ms) == set(STEPS)
    assert set(figures.step_cpu_us) == {*STEPS, "settled"}
    assert all(set(of) == set(PROCESSES) for of in figures.step_cpu_us.values())
    assert figures.cpu_us["door"] > 0
    assert figures.cpu_us["postgres"] > 0
    write_files(report, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "checkout.json").read_text())
    assert written["ok"] is True
    assert written["checkout"]["orders"] == figures.orders
    assert {"cpu_us", "cpu_us_of_shop", "orders_per_s"} <= written["checkout"].keys()
    assert not (tmp_path / "out" / "checkout.svg").exists()
    assert f"{UNITS} settled" in report.table()


async def test_without_postgres_there_is_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(NoPostgres, match="none here"):
        await measure_checkout(Stores(tmp_path, None, "none here"), Size(), "", lambda _: None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"settled": 101},
        {"settled": 99},
        {"refused": {"out-of-stock": 199, "unavailable": 1}},
        {"charged_and_refunded": 1},
        {"unclear": 1},
        {"available_after": 1},
    ],
)
def test_a_rush_that_is_not_right_is_named(wrong: dict[str, object]) -> None:
    right: dict[str, object] = {
        "buyers": 300,
        "units": 100,
        "settled": 100,
        "refused": {"out-of-stock": 200},
        "charged_and_refunded": 0,
        "unclear": 0,
        "available_after": 0,
    }
    assert RushFigures(**right).breaches() == []  # type: ignore[arg-type]
    assert len(RushFigures(**right | wrong).breaches()) == 1  # type: ignore[arg-type]


def test_processor_time_is_told_per_order_by_who_spent_it() -> None:
    assert spent_us({"door": 1.0, "client": 2.0}, {"door": 1.5, "client": 2.0}, 1000) == {"door": 500.0, "client": 0.0}
