"""`doorbuster bench …` as it is typed: every command, its JSON line, its files, its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doorbuster.apps.cli.main import app
from doorbuster.lab.bench import checkout, run, strategies
from doorbuster.lab.bench.checkout import Size
from doorbuster.lab.bench.dispatch import DispatchReport, measure_dispatch
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.postgres_server import NoPostgres, PostgresServer
from doorbuster.lab.redis_server import NoRedis, RedisServer

COMMANDS = ("strategies", "checkout", "dispatch", "draw", "gateway", "slow-clients", "cache", "pools")


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither PostgreSQL nor Redis, and no time."""

    def no_postgres(given: str | None = None, within: Path | None = None) -> PostgresServer:
        raise NoPostgres("no elephant")

    def no_redis(given: str | None = None) -> RedisServer:
        raise NoRedis("no dictionary")

    monkeypatch.setattr(PostgresServer, "start", no_postgres)
    monkeypatch.setattr(RedisServer, "start", no_redis)
    monkeypatch.setattr(run, "ROUNDS", 1)
    monkeypatch.setattr(run, "CLAIMS", 100)
    monkeypatch.setattr(strategies, "ROUNDS", 1)
    monkeypatch.setattr(strategies, "WARM_UP_S", 0.0)
    monkeypatch.setattr("doorbuster.lab.bench.start.SETTLE_S", 0.1)


def test_alone_it_measures_what_it_always_has(bare_machine: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--seconds", "1", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads((tmp_path / "bench.json").read_text())
    assert {"none", "sqlite", "postgres"} == found["http"].keys()
    assert {"sqlite", "postgres"} == found["hot_sku"].keys()
    assert found["command"] == "doorbuster bench --seconds 1"
    assert (tmp_path / "bench.svg").exists()


def test_strategies_on_what_there_is(bare_machine: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "strategies", "--seconds", "1", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["hot"]["redis_lua"] == {"skipped": "no dictionary"}
    assert found["hot"]["group_commit"]["oversold"] == 0
    assert found["command"] == "doorbuster bench strategies --seconds 1"
    assert {path.name for path in tmp_path.iterdir()} == {"strategies.json", "strategies.svg"}


def test_checkout_asks_for_the_seconds_it_was_given(bare_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Size] = []

    async def remember(stores: object, size: Size, command: str, say: object) -> None:
        asked.append(size)
        raise NoPostgres(command)

    monkeypatch.setattr(checkout, "measure_checkout", remember)
    done = CliRunner().invoke(app, ["bench", "checkout", "--seconds", "3"])
    assert asked == [Size(3.0)]
    assert isinstance(done.exception, NoPostgres)
    assert str(done.exception) == "doorbuster bench checkout --seconds 3"


def test_the_draw_is_what_the_seed_says(bare_machine: None) -> None:
    words = ["bench", "draw", "--tickets", "300", "--tickets", "20", "--rounds", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert [(each["store"], each["tickets"]) for each in found["draws"]] == [("sqlite", 300), ("sqlite", 20)]
    assert found["command"] == "doorbuster bench draw --tickets 300 --tickets 20 --rounds 1"


def test_dispatch_assigns_every_courier_and_says_so(tmp_path: Path) -> None:
    words = ["bench", "dispatch", "--tasks", "300", "--couriers", "60", "--rounds", "1", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["ok"], found["tasks"], found["couriers"], found["proposals"]) == (True, 300, 60, 60)
    assert found["median_m"] < found["random_median_m"]
    assert json.loads((tmp_path / "dispatch.json").read_text()) == found
    assert "60 couriers assigned" in CliRunner().invoke(app, words).stdout


def test_slow_clients_are_beside_the_others(tmp_path: Path) -> None:
    words = ["bench", "slow-clients", "--clients", "30", "--per-s", "50", "--seconds", "0.4", "--rounds", "1"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["clients"], found["breaches"]) == (30, [])
    assert found["p99_ratio"] == pytest.approx(found["beside"]["p99_ms"] / found["alone"]["p99_ms"], rel=0.01)
    assert (tmp_path / "slow-clients.json").exists()


def test_gateway_compares_three_fronts(bare_machine: None, tmp_path: Path) -> None:
    words = ["bench", "gateway", "--seconds", "0.3", "--rounds", "1", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["figures"].keys() == {"door", "empty", "full"}
    assert all(found[name] > 0 for name in ("empty_ratio", "full_ratio", "empty_cpu_ratio", "full_cpu_ratio"))
    assert json.loads((tmp_path / "gateway.json").read_text()) == found


def test_what_is_broken_ends_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = measure_dispatch(3, 2, 1, 1, "", lambda _: None).figures

    def broken(*_: object) -> DispatchReport:
        return DispatchReport(machine=describe_machine(), command="", breaches=["one is missing"], figures=figures)

    monkeypatch.setattr("doorbuster.lab.bench.dispatch.measure_dispatch", broken)
    done = CliRunner().invoke(app, ["bench", "dispatch"])
    assert done.exit_code == 1
    assert "BROKEN: one is missing" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_json_and_files(command: str) -> None:
    shown = CliRunner().invoke(app, ["bench", command, "--help"], env={"COLUMNS": "200"}).stdout
    assert "--json" in shown
    assert "--out" in shown


def test_cache_without_redis_says_so_and_counts_every_read(bare_machine: None, tmp_path: Path) -> None:
    words = ["bench", "cache", "--products", "50", "--requests", "500", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert "no dictionary" in found["tiers"]
    for run_of in ("cold", "warm", "without"):
        counted = found[run_of]
        assert counted["hits"] + counted["db_reads"] == counted["reads"] == 500 - counted["writes"]
        assert counted["stale"] == 0
    assert found["without"]["db_reads"] == found["without"]["reads"]
    assert found["warm"]["db_reads"] <= 2 * found["warm"]["writes"] + 1
    assert found["hit_ratio"] == round(found["warm"]["hits"] / found["warm"]["reads"], 3)


def test_pools_compares_the_ways_and_loses_no_item(bare_machine: None, tmp_path: Path) -> None:
    words = ["bench", "pools", "--items", "3000", "--seconds", "0", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kinds"].keys() == {"turns", "http", "database"}
    assert found["kinds"]["database"] == {"skipped": "no elephant"}
    for kind in ("turns", "http"):
        of = found["kinds"][kind]
        assert of["ways"].keys() == {"task_per_item", "pool", "at_most"}
        assert all((run["done"], run["failed"]) == (3000, 0) for run in of["ways"].values())
        assert of["throughput_ratio"] > 0
        assert of["memory_ratio"] < 1, "a task for each of 3,000 items against 16 workers"
    assert found["throughput_ratio"] == found["kinds"]["http"]["throughput_ratio"]
    assert json.loads((tmp_path / "pools.json").read_text()) == found


def test_an_item_without_an_end_breaks_the_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    from doorbuster.lab.bench import pools
    from doorbuster.lab.bench.pools_process import RunFigures

    async def forgetful(plan: object) -> RunFigures:
        return RunFigures(1.0, 99, 0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0)

    monkeypatch.setattr(pools, "_in_a_process", forgetful)
    monkeypatch.setattr(PostgresServer, "start", _no_postgres)
    done = CliRunner().invoke(app, ["bench", "pools", "--items", "100", "--seconds", "0"])
    assert done.exit_code == 1
    assert "BROKEN: http: pool lost 1 items" in done.stdout


def _no_postgres(given: str | None = None, within: Path | None = None) -> PostgresServer:
    raise NoPostgres("no elephant")
