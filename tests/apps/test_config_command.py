"""`doorbuster config`, on a shop that is closed and on one that runs; killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from doorbuster.platform.settings.tree import DatabaseSettings
from journeys.api_shop import ApiShop, api_shop, eventually


def config(*words: str, data: Path, database: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    where = ["--data", str(data), *(["--database", database] if database else [])]
    return subprocess.run(
        [sys.executable, "-m", "doorbuster", "config", *words, *where],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def answer(*words: str, data: Path, database: str = "") -> Any:
    done = config(*words, "--json", data=data, database=database)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / "configuration.sqlite") as database:
        return database.execute(sql).fetchall()


def stored(folder: Path) -> list[tuple[str, Any]]:
    return [(name, json.loads(entry)) for name, entry in rows(folder, "SELECT name, entry FROM settings_entries")]


def logs_of(shown: Any) -> Any:
    (logs,) = (item for item in shown["items"] if item["key"] == "logs")
    return logs


def test_from_the_first_setting_to_the_way_back(tmp_path: Path):
    assert logs_of(answer("get", data=tmp_path))["in_force"] == {"level": None}
    change = answer("set", "logs.level=debug", "--why", "a strange night", data=tmp_path)
    assert (change["version"], change["by"], change["reason"]) == (1, "operator", "a strange night")
    assert stored(tmp_path) == [("logs", {"value": {"level": "debug"}})]
    rolled = answer(
        "set", "logs.level=error", "--percent", "25", "--label", "canary", "--why", "quieter", data=tmp_path
    )
    rollout = {"value": {"level": "error"}, "percent": 25.0, "labels": ["canary"]}
    assert rolled["differences"][0]["after"] == {"value": {"level": "debug"}, "rollout": rollout}
    assert answer("get", "logs", data=tmp_path)["items"][0]["stored"]["rollout"] == rollout
    answer("set", "logs.level=warning", "--why", "for all", data=tmp_path)
    assert stored(tmp_path) == [("logs", {"value": {"level": "warning"}})], "and the roll-out is over"
    answer("set", "--reset", "logs.level", "--why", "as it came", data=tmp_path)
    assert stored(tmp_path) == [("logs", {})]
    answer("set", "--reset", "logs", "--why", "as it came", data=tmp_path)
    assert stored(tmp_path) == []
    assert answer("rollback", "--to", "1", "--why", "back", data=tmp_path)["version"] == 6
    assert stored(tmp_path) == [("logs", {"value": {"level": "debug"}})]
    history = answer("history", "--limit", "2", data=tmp_path)["changes"]
    assert [(each["version"], each["reason"]) for each in history] == [(6, "back"), (5, "as it came")]
    watched = config("watch", "--after", "0", "--count", "6", "--json", data=tmp_path).stdout.splitlines()
    assert [json.loads(line)["version"] for line in watched] == [1, 2, 3, 4, 5, 6]
    words = config("history", data=tmp_path).stdout
    assert 'logs.level: default → "debug"' in words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "logs.level=loud", "--why", "x"), "setting-invalid: logs.level"),
        (("set", "logs.volume=3", "--why", "x"), "setting-invalid: logs.volume"),
        (("set", "logs=3", "--why", "x"), "setting-invalid: logs"),
        (("set", "logs.level", "--why", "x"), "setting-invalid: 'logs.level'"),
        (("set", "volume=3", "--why", "x"), "setting-unknown"),
        (("set", "--reset", "volume", "--why", "x"), "setting-unknown"),
        (("set", "--why", "x"), "setting-invalid"),
        (("set", "logs.level=info", "--why", " "), "setting-invalid: a change has a reason"),
        (("set", "logs.level=info", "--why", "x", "--expect", "7"), "settings-changed"),
        (("get", "volume"), "setting-unknown"),
        (("rollback", "--why", "x"), "settings-version-not-found"),
    ],
)
def test_what_is_wrong_is_one_line_and_writes_nothing(tmp_path: Path, words: tuple[str, ...], said: str):
    done = config(*words, data=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"doorbuster: {said}")
    assert rows(tmp_path, "SELECT version FROM settings_current") == [(0,)]
    assert stored(tmp_path) == []


def test_a_setter_killed_before_the_commit_leaves_nothing_and_after_it_everything(tmp_path: Path):
    words = ("set", "logs.level=debug", "--why", "x")
    killed = config(*words, data=tmp_path, DOORBUSTER_CRASH_AT="configuration.not-committed")
    assert killed.returncode == -signal.SIGKILL
    assert rows(tmp_path, "SELECT version FROM settings_current") == [(0,)]
    assert (stored(tmp_path), rows(tmp_path, "SELECT * FROM settings_changes")) == ([], [])
    killed = config(*words, data=tmp_path, DOORBUSTER_CRASH_AT="configuration.committed")
    assert killed.returncode == -signal.SIGKILL
    assert rows(tmp_path, "SELECT version FROM settings_current") == [(1,)]
    assert stored(tmp_path) == [("logs", {"value": {"level": "debug"}})]
    assert rows(tmp_path, "SELECT version, reason FROM settings_changes") == [(1, "x")]
    assert answer("rollback", "--why", "x", data=tmp_path)["version"] == 2
    assert stored(tmp_path) == []


def followed(shop: ApiShop, version: int) -> set[str]:
    """Processes that have put this version into force, as their logs tell."""
    return {
        line["process"] for line in shop.logged() if line["event"] == "settings changed" and line["version"] == version
    }


def test_a_running_shop_follows_the_command_line_in_all_its_processes(
    tmp_path: Path, database_settings: DatabaseSettings
):
    url, data = database_settings.url, tmp_path / "data"
    with api_shop(tmp_path, database_url=url, back_room=True) as shop:
        answer("set", "logs.level=debug", "--why", "look closely", data=data, database=url)
        eventually(lambda: followed(shop, 1) == {"door", "back-room"}, "both processes have version 1")
        killed = config(
            "set",
            "logs.level=error",
            "--why",
            "killed after the commit",
            data=data,
            database=url,
            DOORBUSTER_CRASH_AT="configuration.committed",
        )
        assert killed.returncode == -signal.SIGKILL
        eventually(lambda: shop.get("/v1/config", "admin")["version_in_force"] == 2, "version 2 is in force")
        answer("rollback", "--why", "tell again", data=data, database=url)
        eventually(lambda: followed(shop, 3) == {"door", "back-room"}, "both processes have version 3")
        shown = shop.get("/v1/config", "admin")
        assert logs_of(shown)["in_force"] == {"level": "debug"}
        assert followed(shop, 2) == set(), "for under version 2 only errors are logged, in both"


def test_what_is_set_holds_from_the_start_on(tmp_path: Path):
    with api_shop(tmp_path) as shop:
        answer("set", "logs.level=error", "--why", "quiet", data=tmp_path / "data")
        eventually(lambda: shop.get("/v1/config", "admin")["version_in_force"] == 1, "version 1 is in force")
    before = (tmp_path / "server.log").read_text()
    with api_shop(tmp_path) as shop:
        assert shop.get("/v1/config", "admin")["version_in_force"] == 1
    again = (tmp_path / "server.log").read_text()[len(before) :]
    assert '"event": "ready"' in before
    assert '"event": "ready"' not in again, "which is not worth an error"
