"""bench overload: every request has its outcome, and what the figures say follows from the outcomes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doorbuster.apps.cli.main import app
from doorbuster.lab.bench import open_load, overload
from doorbuster.lab.bench.overload import measure_overload
from doorbuster.lab.bench.phase import DEADLINE_S, STEP_S, Run
from doorbuster.lab.bench.shop_mix import SHARES
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.stampede.errors import Failure

GIVEN = ("capacity_per_s", "goodput_ratio_10x", "p99_ratio_10x", "refusal_p50_ms", "recovery_s")


def test_the_shares_are_of_everything():
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_a_phase_counts_what_was_in_time_late_refused_and_lost():
    cpu_s = iter((10.0, 12.0))
    run = Run(lambda: next(cpu_s), per_s=100.0)
    run.begun_s = time.monotonic() - 2.0
    run.under_way = 6
    begun_s = run.begun_s
    run.answered("cart", 201, begun_s, begun_s + 0.1)
    run.answered("cart", 201, begun_s, begun_s + DEADLINE_S + 0.1)
    run.answered("sale", 503, begun_s, begun_s + 0.01)
    run.answered("sale", 200, begun_s, begun_s + 0.2)
    run.failed("sale", Failure.QUEUE_FULL, begun_s)
    run.failed("sale", Failure.TIMEOUT, begun_s)
    run.end()
    run.seconds = 2.0
    phase = run.phase({"cart": 1_000_000.0, "sale": 500_000.0})
    assert (phase.goodput_per_s, phase.work, phase.server_cores) == (1.0, 0.75, 1.0)
    assert (phase.refused, phase.late, phase.not_sent, phase.failed) == (1, 1, 1, 1)
    assert phase.refusal_p50_ms == pytest.approx(10, rel=0.01)
    assert run.under_way == 0


def test_it_is_well_again_after_the_last_bad_step():
    run = Run(lambda: 0.0)
    for step in range(6):
        due_s = run.begun_s + (step + 0.5) * STEP_S
        for number in range(20):
            run.answered("sale", 503 if step == 1 and number < 2 else 200, due_s, due_s + (0.5 if step == 2 else 0.01))
    assert run.well_after_s(1.0) == 2 * STEP_S
    assert run.well_after_s(0.1) == 3 * STEP_S
    assert Run(lambda: 0.0).well_after_s(1.0) == 0.0


def test_every_request_of_an_overload_has_its_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(open_load, "CONNECTIONS", 64)
    monkeypatch.setattr(overload, "MULTIPLES", (1, 10))
    monkeypatch.setattr(overload, "SETTLE_STEPS_MAX", 1)
    said: list[str] = []
    report = asyncio.run(measure_overload(Stores(tmp_path, None), 0.3, {"enabled": True}, "a command", said.append))
    found = report.as_json()
    assert found["ok"], found["breaches"]
    assert set(GIVEN) <= found.keys()
    assert found["shedding"] is True
    assert found["phases"].keys() == {"0.1x", "1x", "10x", "lull"}
    assert found["cost_us"].keys() == SHARES.keys() and all(found["cost_us"].values())
    for phase in found["phases"].values():
        outcomes = [number for of in phase["kinds"].values() for number in of.values()]
        refused = sum(of.get("503", 0) for of in phase["kinds"].values())
        assert refused == phase["refused"] and sum(outcomes) >= refused + phase["failed"] + phase["not_sent"]
    assert "requests/s" in report.table() and len(said) == 5


def test_the_command_says_with_or_without(monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    async def remember(stores: Stores, *arguments: object) -> None:
        asked.extend(arguments[:3])
        raise FileNotFoundError

    monkeypatch.setattr(overload, "measure_overload", remember)
    monkeypatch.setattr("doorbuster.lab.postgres_server.PostgresServer.start", _no_postgres)
    done = CliRunner().invoke(app, ["bench", "overload", "--seconds", "2", "--no-shedding"])
    assert isinstance(done.exception, FileNotFoundError)
    assert asked == [2.0, {"enabled": False}, "doorbuster bench overload --seconds 2 --no-shedding"]


def _no_postgres(*_: object) -> None:
    from doorbuster.lab.postgres_server import NoPostgres

    raise NoPostgres("no elephant")
