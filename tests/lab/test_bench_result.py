"""The result: JSON, a table, and a chart that any viewer can read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from doorbuster.lab.bench import run
from doorbuster.lab.bench.chart import chart_of
from doorbuster.lab.bench.consumer import ConsumerFigures
from doorbuster.lab.bench.hot_sku import HotFigures
from doorbuster.lab.bench.http_claims import HttpFigures
from doorbuster.lab.bench.machine import Durability, describe_machine
from doorbuster.lab.bench.report import write_files
from doorbuster.lab.bench.result import BenchResult
from doorbuster.lab.bench.start import StartFigures
from doorbuster.lab.bench.stores import Skipped
from postgres_server import PostgresServer

SVG = "{http://www.w3.org/2000/svg}"


def http(per_s: float, cpu_us: float) -> HttpFigures:
    return HttpFigures(per_s, 4.0, 9.0, cpu_us, per_s * cpu_us / 1e6, None, 1000, (per_s,))


def hot(per_s: float) -> HotFigures:
    return HotFigures(per_s, 1000, 0.5, 0, (per_s,))


def result(breaches: tuple[str, ...] = (), postgres: bool = True) -> BenchResult:
    missing = Skipped("none <here>")
    strategies = {"pessimistic": hot(200), "optimistic": hot(100), "group_commit": hot(10_000)}
    return BenchResult(
        http={
            "none": http(30_000, 30),
            "sqlite": http(12_000, 60),
            "postgres": http(15_000, 45) if postgres else missing,
        },
        hot_sku={"sqlite": strategies, "postgres": strategies if postgres else missing},
        consumer={
            "sqlite": ConsumerFigures(9_000, 80, 50_000, 5.5),
            "postgres": ConsumerFigures(8_000, 60, 50_000, 6.2) if postgres else missing,
        },
        start=StartFigures(0.8, 1.4, {"door": 79.0, "back_room": 57.0}, 136.0),
        machine=describe_machine(),
        durability=Durability("synchronous=FULL", "fsync=on", 200.0),
        command="doorbuster bench --seconds 15",
        breaches=breaches,
    )


def test_json_has_the_fields_that_are_promised() -> None:
    content = json.loads(json.dumps(result().as_json()))
    assert content["ok"] is True
    assert {"per_s", "p50_ms", "p99_ms", "cpu_us"} <= content["http"]["postgres"].keys()
    assert content["hot_sku"]["sqlite"]["group_commit"]["per_s"] == 10_000
    assert content["ratios"] == {
        "http": {"sqlite/none": 0.4, "postgres/none": 0.5},
        "http_cpu": {"sqlite/none": 0.5, "postgres/none": 0.667},
        "hot_sku": {
            engine: {"group_commit/pessimistic": 50.0, "group_commit/optimistic": 100.0}
            for engine in ("sqlite", "postgres")
        },
    }
    assert content["consumer"]["sqlite"]["orders_per_s"] == 9_000
    assert {"cpu", "cores", "python", "versions"} <= content["machine"].keys()
    assert content["command"] == "doorbuster bench --seconds 15"


def test_what_was_skipped_says_why_and_has_no_ratio() -> None:
    content = result(postgres=False).as_json()
    assert content["http"]["postgres"] == content["hot_sku"]["postgres"] == {"skipped": "none <here>"}
    assert content["ratios"]["http"] == {"sqlite/none": 0.4}
    assert "none <here>" in result(postgres=False).table()


def test_a_breach_voids_the_result_and_stands_in_the_table() -> None:
    broken = result(("http sqlite: 3 acknowledged, but 2 claim rows",))
    assert broken.as_json()["ok"] is False
    assert "BROKEN: http sqlite: 3 acknowledged, but 2 claim rows" in broken.table()


@pytest.mark.parametrize("postgres", [True, False])
def test_the_chart_is_an_accessible_svg_without_scripts(postgres: bool) -> None:
    content = result(postgres=postgres).as_json()
    content["command"] = 'doorbuster bench "<&>"'
    root = ElementTree.fromstring(chart_of(content))
    assert root.tag == f"{SVG}svg"
    named = {
        element.get("id") for element in (root.find(f"{SVG}title"), root.find(f"{SVG}desc")) if element is not None
    }
    assert named == set((root.get("aria-labelledby") or "").split())
    assert not [element for element in root.iter() if element.tag == f"{SVG}script"]
    bars = [element for element in root.iter(f"{SVG}rect") if element.get("class") != "paper"]
    assert len(bars) == (3 + 3 + 3 if postgres else 2 + 3)
    assert all(float(bar.get("width", 0)) > 0 for bar in bars)
    assert "prefers-color-scheme:dark" in "".join(root.itertext())


def test_the_whole_bench_writes_its_files(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "CLAIMS", 500)
    monkeypatch.setattr(run, "ROUNDS", 1)
    monkeypatch.setattr("doorbuster.lab.bench.start.SETTLE_S", 0.5)
    said: list[str] = []
    done = run.run_bench(0.1, postgres.url, said.append)
    assert done.ok, done.breaches
    write_files(done, tmp_path / "out")
    written: dict[str, Any] = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert written == json.loads(json.dumps(done.as_json()))
    assert set(written["start"]["rss_mb"]) == {"door", "back_room"}
    assert "synchronous=FULL" in written["durability"]["sqlite"]
    assert "fsync=on" in written["durability"]["postgres"]
    ElementTree.fromstring((tmp_path / "out" / "bench.svg").read_text("utf-8"))
