"""The import contract of pyproject.toml: kept by the house as it stands, and broken by every kind of bad import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"

FLOORS = "The house has floors: imports go down, never back up"
EDGE = "The edge knows contracts, not contexts"
APART = "Contexts do not know one another, not even indirectly"
INSIDE = "Inside a context: wiring, faces, service, the rest, store, model"
SERVICE = "Inside a context nothing but wiring and faces knows the service"
FACE = "An HTTP face asks the service, never the store"
WORDS = "Words and decisions know no driver and no framework"
CIRCLES = "Nothing runs in circles"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with its contract, to build badly in."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "src" / "doorbuster", folder / "doorbuster", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


Build = Callable[[str, str], None]


@pytest.fixture
def build(house: Path) -> Iterator[Build]:
    """`build("kernel/clock.py", "import sqlite3")` adds a line to the copy; it is taken away again afterwards."""
    before: dict[Path, str | None] = {}

    def add(path: str, line: str) -> None:
        file = house / "doorbuster" / path
        before.setdefault(file, file.read_text() if file.exists() else None)
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{before[file] or ''}\n{line}\n")

    yield add
    for file, text in before.items():
        if text is None:
            file.unlink()
        else:
            file.write_text(text)


def broken_in(house: Path) -> set[str]:
    """The names of the contracts that are broken."""
    environment = {**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200"}
    linted = subprocess.run(
        [sys.executable, "-c", LINT], cwd=house, env=environment, capture_output=True, text=True, timeout=60
    )
    verdicts = [line.rsplit(" ", 1) for line in linted.stdout.splitlines() if line.endswith((" KEPT", " BROKEN"))]
    assert len(verdicts) == 8, f"{linted.stdout}\n{linted.stderr}"
    broken = {name for name, verdict in verdicts if verdict == "BROKEN"}
    assert (linted.returncode != 0) == bool(broken)
    return broken


def test_the_house_keeps_its_contract(house: Path):
    assert broken_in(house) == set()


@pytest.mark.parametrize(
    ("path", "line", "rule"),
    [
        ("kernel/clock.py", "import doorbuster.platform.sql.errors", FLOORS),
        ("kernel/clock.py", "import doorbuster.contracts.orders", FLOORS),
        ("platform/sql/errors.py", "import doorbuster.contracts.orders", FLOORS),
        ("contracts/orders.py", "import doorbuster.platform.sql.errors", FLOORS),
        ("platform/context.py", "import doorbuster.contexts.orders.wiring", FLOORS),
        ("contexts/orders/http.py", "import doorbuster.edge.door", FLOORS),
        ("contexts/orders/expiry.py", "import doorbuster.lab.audit.report", FLOORS),
        ("edge/door.py", "import doorbuster.lab.audit.report", FLOORS),
        ("lab/audit/report.py", "import doorbuster.edge.door", FLOORS),
        ("lab/audit/report.py", "import doorbuster.apps.shop", FLOORS),
        ("edge/door.py", "def late():\n    from doorbuster.apps import shop", FLOORS),
        (
            "kernel/clock.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import doorbuster.edge.door",
            FLOORS,
        ),
        ("annexe.py", "", FLOORS),
        ("edge/door.py", "import doorbuster.contexts.orders.model", EDGE),
        ("contexts/orders/service.py", "import doorbuster.contexts.payments.model", APART),
        ("contexts/catalog/model.py", "from doorbuster.contexts.accounts.wiring import HISTORY", APART),
        ("contexts/flash_sale/live.py", "def late():\n    from doorbuster.contexts.orders import store", APART),
        ("contexts/orders/model.py", "import doorbuster.contexts.orders.store", INSIDE),
        ("contexts/orders/tables.py", "import doorbuster.contexts.orders.store", INSIDE),
        ("contexts/orders/store.py", "import doorbuster.contexts.orders.service", INSIDE),
        ("contexts/orders/service.py", "import doorbuster.contexts.orders.http", INSIDE),
        ("contexts/orders/service.py", "import doorbuster.contexts.orders.events", INSIDE),
        ("contexts/orders/http.py", "import doorbuster.contexts.orders.wiring", INSIDE),
        ("contexts/orders/http.py", "import doorbuster.contexts.orders.events", INSIDE),
        ("contexts/payments/store/tables.py", "import doorbuster.contexts.payments.service", INSIDE),
        ("contexts/accounts/session_store.py", "import doorbuster.contexts.accounts.service", INSIDE),
        ("contexts/orders/expiry.py", "import doorbuster.contexts.orders.service", SERVICE),
        ("contexts/payments/till.py", "import doorbuster.contexts.payments.service", SERVICE),
        ("contexts/orders/http.py", "import doorbuster.contexts.orders.store", FACE),
        ("contexts/accounts/http.py", "from doorbuster.contexts.accounts import session_store", FACE),
        ("contexts/payments/http.py", "from doorbuster.contexts.payments.store import payments", FACE),
        ("contexts/catalog/http.py", "import sqlalchemy", FACE),
        ("kernel/money.py", "import sqlalchemy", WORDS),
        ("contracts/catalog.py", "import litestar", WORDS),
        ("contexts/accounts/model.py", "import argon2", WORDS),
        ("contexts/catalog/model.py", "import sqlite3", WORDS),
        ("contexts/flash_sale/model.py", "import asyncpg", WORDS),
        ("contexts/orders/model.py", "def late():\n    import aiohttp", WORDS),
        ("contexts/payments/model.py", "import uvicorn", WORDS),
        ("platform/settings/keys.py", "import doorbuster.platform.http.tokens", CIRCLES),
        ("platform/sql/errors.py", "import doorbuster.platform.bus.relay", CIRCLES),
        ("lab/audit/report.py", "import doorbuster.lab.audit.render", CIRCLES),
    ],
)
def test_a_bad_import_is_caught(house: Path, build: Build, path: str, line: str, rule: str):
    build(path, line)
    assert rule in broken_in(house)


def test_contexts_do_not_meet_behind_a_third_modules_back(house: Path, build: Build):
    build("platform/shared.py", "import doorbuster.contexts.payments.model")
    build("contexts/orders/service.py", "import doorbuster.platform.shared")
    assert APART in broken_in(house)


def test_a_model_does_not_reach_a_driver_through_a_third_module(house: Path, build: Build):
    build("contracts/orders.py", "import sqlalchemy")
    assert WORDS in broken_in(house)
    build("contracts/helper.py", "import sqlalchemy")
    build("contexts/orders/model.py", "import doorbuster.contracts.helper")
    assert WORDS in broken_in(house)


def test_a_new_context_is_under_the_same_rules(house: Path, build: Build):
    for module in ("__init__", "http", "service", "wiring"):
        build(f"contexts/support/{module}.py", "")
    build("contexts/support/model.py", "import sqlalchemy")
    build(
        "contexts/support/store.py",
        "import doorbuster.contexts.support.service\nimport doorbuster.contexts.orders.model",
    )
    assert broken_in(house) >= {APART, INSIDE, SERVICE, WORDS}
