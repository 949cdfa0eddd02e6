"""The demo itself, smaller: its verdict, and the rows behind it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path


def test_the_demo_sells_out_and_proves_it(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    words = ["demo", "--exit", "--json", "--buyers", "3000", "--units", "60", "--seed", "7", "--data", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "doorbuster", *words], capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    verdict = json.loads(done.stdout.splitlines()[-1])
    assert verdict["ok"]
    assert (verdict["units"], verdict["sold"], verdict["oversold"], verdict["lost"]) == (60, 60, 0, 0)
    assert verdict["captures"] == verdict["paid_orders"] == 60
    assert _count(folder, "orders", "SELECT count(*) FROM orders WHERE status = 'paid'") == 60
    assert _count(folder, "flash_sale", "SELECT sum(quantity) FROM claims WHERE released_ms IS NULL") == 60
    assert _count(folder, "flash_sale", "SELECT count(*) FROM claims WHERE released_ms IS NOT NULL") >= 6
    assert _count(folder, "payments", "SELECT count(*) FROM payments WHERE status = 'captured'") == 60


def test_the_demo_wants_a_folder_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    done = subprocess.run(
        [sys.executable, "-m", "doorbuster", "demo", "--exit", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def _count(folder: Path, context: str, sql: str) -> int:
    with sqlite3.connect(folder / f"{context}.sqlite") as database:
        return database.execute(sql).fetchone()[0]
