"""The demo itself, smaller: its verdict, and the rows and e-mails behind it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from doorbuster.lab.demo.door.outcome import GOODPUT, LOAD

PATIENCE_S = 240


def test_the_demo_sells_out_and_every_order_has_its_whole_life(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    words = command(folder, "--crowd", "800")
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.stdout, done.stderr[-5000:]
    verdict = json.loads(done.stdout.splitlines()[-1])
    the_door_held(verdict["door"], folder, done.stderr)
    assert (verdict["ok"], done.returncode) == ((True, 0) if verdict["door"]["ok"] else (False, 1)), done.stderr[-5000:]
    the_sale_was_sold_out(verdict, folder)
    the_orders_lived(verdict["life"], folder)
    everybody_was_told_once(verdict["life"]["notifications"], folder)


def the_sale_was_sold_out(verdict: dict[str, Any], folder: Path) -> None:
    assert (verdict["units"], verdict["sold"], verdict["oversold"], verdict["lost"]) == (60, 60, 0, 0)
    assert verdict["captures"] == verdict["paid_orders"] == 60
    sale = f"sale_id = {sale_of(folder, guarded=False)}"
    assert count(folder, "orders", f"SELECT count(*) FROM orders WHERE status = 'paid' AND {sale}") == 60
    assert count(folder, "flash_sale", f"SELECT sum(quantity) FROM claims WHERE released_ms IS NULL AND {sale}") == 60
    assert count(folder, "flash_sale", f"SELECT count(*) FROM claims WHERE released_ms IS NOT NULL AND {sale}") >= 6


def the_door_held(door: dict[str, Any], folder: Path, told: str) -> None:
    """Everything but rates, which are a matter of the machine and of who else uses it."""
    assert set(door["failed"]) <= {LOAD, GOODPUT}, told[-8000:]
    assert door["crowd"]["sent"] > 0 < door["crowd"]["trouble"]
    sale = f"sale_id = {sale_of(folder, guarded=True)}"
    assert count(folder, "orders", f"SELECT count(*) FROM orders WHERE status = 'paid' AND {sale}") == 200
    assert count(folder, "flash_sale", f"SELECT sum(quantity) FROM claims WHERE released_ms IS NULL AND {sale}") == 200
    claims = count(folder, "flash_sale", f"SELECT count(*) FROM claims WHERE {sale}")
    used = "SELECT count(*) FROM tickets WHERE state = 'used'"
    assert claims == count(folder, "waiting_room", used) == door["sold"]["verified"]["checked"]
    assert count(folder, "waiting_room", "SELECT count(*) FROM tickets") == door["tickets"] == 800
    given = "SELECT count(*) FROM tickets WHERE state != 'waiting' AND place <="
    let_in = count(folder, "waiting_room", "SELECT released FROM rooms")
    assert let_in == door["released"] == count(folder, "waiting_room", f"{given} {let_in}")
    assert (door["bots"]["stolen"], door["bots"]["cheats"] > 100) == (0, True)
    assert count(folder, "configuration", "SELECT count(*) FROM settings_entries") == 0, "as it was"
    for words in ("killed", "flushed", "limit is changed", "breaker is closed again", "goodput/s"):
        assert words in told


def the_orders_lived(life: dict[str, Any], folder: Path) -> None:
    assert life["ok"]
    assert life["orders"] == {"completed": 2, "cancelled": 1, "refunded": 1}
    assert (life["problems"], life["stock"], life["money"]) == ([], [], [])
    own = "FROM orders WHERE sale_id IS NULL"
    assert count(folder, "orders", f"SELECT count(*) {own}") == 4
    assert count(folder, "orders", f"SELECT count(*) {own} AND status = 'completed' AND fulfilment = 'parcel'") == 1
    assert count(folder, "orders", f"SELECT count(*) {own} AND status = 'completed' AND fulfilment = 'takeout'") == 1
    assert count(folder, "orders", "SELECT count(*) FROM order_refunds WHERE succeeded_ms IS NOT NULL") == 2
    assert count(folder, "inventory", "SELECT sum(returned) FROM stock") == 1 + 3
    offers = "SELECT count(*) FROM offers WHERE status ="
    assert (count(folder, "delivery", f"{offers} 'expired'"), count(folder, "delivery", f"{offers} 'accepted'")) == (
        1,
        1,
    )
    assert life["delivery"]["positions_seen"] == life["delivery"]["positions_sent"] == 8
    assert life["delivery"]["statuses"] == ["waiting", "preparing", "ready", "assigned", "picked_up", "delivered"]
    assert life["support"] == {"written": 7, "kept": 7, "lost": 0, "twice": 0}
    assert count(folder, "support", "SELECT count(*) FROM messages") == 7


def everybody_was_told_once(told: dict[str, Any], folder: Path) -> None:
    assert (told["missing"], told["twice"], told["forged"], told["wrong"]) == (0, 0, 0, [])
    sent = "SELECT count(*) FROM messages WHERE status = 'sent' AND channel ="
    letters = list((folder / "mail").glob("*.eml"))
    assert told["email"] == len(letters) == count(folder, "notifications", f"{sent} 'email'")
    own_orders = "SELECT count(*) FROM orders WHERE sale_id IS NULL AND payment_id IS NOT NULL"
    assert count(folder, "orders", own_orders) == 3
    # Paid, shipped, completed and partly refunded; paid, shipped and completed; paid, cancelled and refunded.
    assert told["webhook"] == 4 + 3 + 3 <= count(folder, "notifications", f"{sent} 'webhook'")
    assert told["in_app"] > told["email"] > 10


def test_a_planted_second_e_mail_is_found_and_the_demo_says_no(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        command(folder, "--crowd", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        plant_a_second_e_mail(folder / "mail")
        out, errors = demo.communicate(timeout=PATIENCE_S)
    verdict = json.loads(out.splitlines()[-1])
    assert demo.returncode == 1, errors[-5000:]
    assert (verdict["ok"], verdict["life"]["ok"], verdict["audit_ok"], verdict["sold"]) == (False, False, True, 60)
    assert verdict["door"] is None
    told = verdict["life"]["notifications"]
    assert (told["missing"], told["twice"]) == (0, 1)
    assert told["wrong"][0].startswith("too many: welcome to ")
    assert "NOT PROVEN" in errors
    assert told["wrong"][0] in errors


def plant_a_second_e_mail(folder: Path) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not (kept := sorted(folder.glob("*.eml"))):
        assert time.monotonic() < give_up_s, "no e-mail has come"
        time.sleep(0.05)
    shutil.copy(kept[0], folder / "999999.eml")


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


def command(folder: Path, *more: str) -> list[str]:
    words = ["demo", "--exit", "--json", "--buyers", "3000", "--units", "60", "--seed", "7", "--data", str(folder)]
    return [sys.executable, "-m", "doorbuster", *words, *more]


def sale_of(folder: Path, *, guarded: bool) -> int:
    return count(folder, "flash_sale", f"SELECT sale_id FROM allotments WHERE guarded = {int(guarded)}")


def count(folder: Path, context: str, sql: str) -> int:
    with sqlite3.connect(folder / f"{context}.sqlite") as database:
        return database.execute(sql).fetchone()[0]
