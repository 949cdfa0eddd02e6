"""Every command as a user types it: a process of its own, its exit status, its last line, its rows."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def doorbuster(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "doorbuster", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def answer(*words: str, **environment: str) -> dict[str, Any]:
    done = doorbuster(*words, "--json", **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the sample catalogue."""
    folder = tmp_path_factory.mktemp("shop")
    report = answer("import", "--sample", "--data", str(folder))
    assert report["ok"]
    assert report["created"] >= 300
    return folder


def rows(folder: Path, context: str, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(folder / f"{context}.sqlite") as database:
        return database.execute(sql).fetchall()


def a_sku(shop: Path) -> str:
    return str(rows(shop, "catalog", "SELECT id FROM skus ORDER BY id LIMIT 1")[0][0])


def test_the_sample_catalogue_has_three_hundred_products_in_a_dozen_categories(shop: Path) -> None:
    ((products, categories),) = rows(shop, "catalog", "SELECT count(*), count(DISTINCT category) FROM products")
    assert products >= 300
    assert categories >= 12


def test_an_export_is_imported_again_without_a_change(shop: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "jsonl"):
        file = tmp_path / f"products.{suffix}"
        assert answer("export", str(file), "--data", str(shop))["bytes"] > 10_000
        report = answer("import", str(file), "--data", str(shop))
        assert (report["created"], report["updated"]) == (0, 0)
        assert report["unchanged"] >= 300


def test_a_bad_line_is_named_and_nothing_is_imported(shop: Path, tmp_path: Path) -> None:
    before = rows(shop, "catalog", "SELECT count(*) FROM products")
    file = tmp_path / "bad.jsonl"
    answer("export", str(file), "--data", str(shop))
    good = file.read_text("utf-8").splitlines()[0].replace('"code":"', '"code":"NEW-')
    file.write_text(good + '\n{"nonsense": 1}\n', "utf-8")
    done = doorbuster("import", str(file), "--data", str(shop), "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1
    assert not report["ok"]
    assert [error["line"] for error in report["errors"]] == [2]
    assert rows(shop, "catalog", "SELECT count(*) FROM products") == before


def test_a_sale_is_created_once_per_key_opened_and_closed(shop: Path) -> None:
    sku, data = a_sku(shop), ("--data", str(shop))
    words = ("sale", "create", sku, "--units", "7", "--price", "500", "--opens-in-s", "3600", "--key", "k1")
    refused = doorbuster(*words, "--opens", "2099-01-01T00:00:00Z", *data, "--json")
    assert (refused.returncode, "out-of-stock" in refused.stderr) == (1, True)
    for _ in range(2):
        assert answer("stock", "receive", "--sku", sku, "--units", "9", "--key", "r1", *data)["available"] == 9
    assert answer("stock", "write-off", "--sku", sku, "--units", "1", *data)["available"] == 8
    sale = answer(*words, "--opens", "2099-01-01T00:00:00Z", *data)
    again = answer(*words, "--opens", "2099-01-01T00:00:00Z", *data)
    assert again["id"] == sale["id"]
    assert rows(shop, "flash_sale", f"SELECT units_left FROM allotments WHERE sale_id = {sale['id']}") == [(7,)]
    assert answer("stock", "show", "--sku", sku, *data)["available"] == 1
    assert answer("sale", "show", sale["id"], *data)["state"] == "scheduled"
    assert answer("sale", "open", sale["id"], *data)["state"] == "open"
    assert answer("sale", "close", sale["id"], *data)["state"] == "closed"
    assert answer("sale", "show", sale["id"], *data)["state"] == "closed"


def test_buyers_get_tokens_in_a_file_that_only_its_owner_reads(shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "buyers.jsonl"
    before = rows(shop, "accounts", "SELECT count(*) FROM accounts")[0][0]
    assert answer("buyers", "create", "1500", "--out", str(file), "--data", str(shop))["created"] == 1500
    buyers = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({buyer["id"] for buyer in buyers}) == len({buyer["token"] for buyer in buyers}) == 1500
    assert file.stat().st_mode & 0o777 == 0o600
    assert rows(shop, "accounts", "SELECT count(*) FROM accounts")[0][0] == before + 1500


def test_staff_are_created_with_a_role_and_changed_the_second_time(shop: Path) -> None:
    secret = {"DOORBUSTER_STAFF_PASSWORD": "correct horse battery"}
    first = answer("staff", "create", "boss@example.com", "--role", "merchant", "--data", str(shop), **secret)
    second = answer("staff", "create", "boss@example.com", "--role", "admin", "--data", str(shop), **secret)
    assert first["id"] == second["id"]
    found = rows(shop, "accounts", f"SELECT email, role FROM accounts WHERE id = {first['id']}")
    assert found == [("boss@example.com", "admin")]


def test_an_untouched_shop_passes_its_audit(shop: Path) -> None:
    report = answer("audit", "--data", str(shop))
    assert report["ok"]
    assert {"name", "ok", "detail"} <= report["checks"][0].keys()


def test_there_are_no_dead_events_and_nothing_to_replay(shop: Path) -> None:
    assert answer("events", "dead", "--data", str(shop))["dead"] == []
    assert answer("events", "replay", "--data", str(shop))["replayed"] == 0


def test_a_dead_event_is_shown_with_the_request_that_it_happened_for(shop: Path) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    parked = "INSERT INTO parked_events VALUES ('orders.claims', ?, 'a.b', X'7B7D', 0, 8, 0, 1, 'it broke', ?)"
    with sqlite3.connect(shop / "orders.sqlite") as database:
        database.execute(parked, (1, f"00-{trace_id}-b7ad6b7169203331-01 claim-7"))
        database.execute(parked, (2, ""))
    try:
        done = doorbuster("events", "dead", "--data", str(shop), "--json")
        dead = json.loads(done.stdout.splitlines()[-1])["dead"]
        assert [(each["request_id"], each["trace_id"]) for each in dead] == [("claim-7", trace_id), (None, None)]
        told = doorbuster("events", "dead", "--data", str(shop)).stdout
        assert "orders.claims 1 a.b (request claim-7): it broke\norders.claims 2 a.b: it broke\n" in told
    finally:
        with sqlite3.connect(shop / "orders.sqlite") as database:
            database.execute("DELETE FROM parked_events")


def test_secrets_are_rotated_and_the_previous_key_stays(shop: Path) -> None:
    before = json.loads((shop / "secrets.json").read_text())["token_keys"]
    answer("rotate-secrets", "--data", str(shop))
    after = json.loads((shop / "secrets.json").read_text())["token_keys"]
    assert after[1] == before[0]
    assert after[0] not in before


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("DOORBUSTER_HTTP_PORT", "many", "http.port"),
        ("DOORBUSTER_HTTP_PROT", "80", "http.prot"),
        ("DOORBUSTER_NONSENSE", "1", "DOORBUSTER_NONSENSE"),
        ("DOORBUSTER_DATABASE_URL", "oracle://x", "database.url"),
        ("DOORBUSTER_AUTH_KEYS", '["short:AAAA"]', "auth.keys"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(tmp_path: Path, variable: str, value: str, key: str) -> None:
    done = doorbuster("serve", "--data", str(tmp_path / "data"), **{variable: value})
    assert done.returncode == 2
    assert key in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "slug"),
    [
        (("sale", "show", "123"), "sale-not-found"),
        (("sale", "show", "abc"), "invalid-id"),
        (("sale", "create", "123", "--units", "5", "--price", "5"), "sku-not-found"),
    ],
)
def test_expected_errors_are_one_line(shop: Path, words: tuple[str, ...], slug: str) -> None:
    done = doorbuster(*words, "--data", str(shop))
    assert done.returncode == 1
    assert slug in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_unreachable_postgres_is_said_without_its_password(tmp_path: Path) -> None:
    done = doorbuster(
        "audit", "--data", str(tmp_path), DOORBUSTER_DATABASE_URL="postgresql://u:planted-canary@127.0.0.1:1/x"
    )
    assert done.returncode == 1
    assert "unavailable" in done.stderr
    assert "planted-canary" not in done.stderr + done.stdout


def test_stampede_explains_a_bad_address_and_a_missing_file(tmp_path: Path) -> None:
    missing = doorbuster("stampede", "http://127.0.0.1:1", "--sale", "1", "--buyers", str(tmp_path / "none.jsonl"))
    assert missing.returncode == 1
    assert "none.jsonl" in missing.stderr
    assert "Traceback" not in missing.stderr
