"""Kernel, contracts and models stand on the standard library and msgspec alone, and not on the parts that do I/O."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ALLOWED = {"msgspec", "doorbuster"}
DOES_IO = {
    "asyncio",
    "concurrent",
    "ftplib",
    "http",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "select",
    "selectors",
    "shutil",
    "smtplib",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib",
}
PURE_STANDARD = sys.stdlib_module_names - DOES_IO


def foreigners(graph: grimp.ImportGraph, package: str) -> set[str]:
    """What the pure modules of a package import that they must not, as "importer -> imported"."""
    pure = {
        module
        for module in graph.modules
        if module.startswith((f"{package}.kernel", f"{package}.contracts"))
        or (module.startswith(f"{package}.contexts.") and module.endswith(".model"))
    }
    assert pure
    return {
        f"{module} -> {imported}"
        for module in pure
        for imported in graph.find_modules_directly_imported_by(module)
        if imported.partition(".")[0] not in PURE_STANDARD | ALLOWED | {package}
    }


def test_they_import_nothing_else():
    graph = grimp.build_graph("doorbuster", include_external_packages=True)
    assert foreigners(graph, "doorbuster") == set()


@pytest.mark.parametrize("foreign", ["brandnewdriver", "socket", "os", "asyncio", "urllib.request"])
@pytest.mark.parametrize("module", ["kernel/money", "contracts/orders", "contexts/orders/model"])
def test_whatever_else_they_import_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str, module: str
):
    package = f"pure_{tmp_path.name}".replace("-", "_")
    for folder in ("kernel", "contracts", "contexts/orders"):
        (tmp_path / package / folder).mkdir(parents=True)
    for folder in ("", "kernel", "contracts", "contexts", "contexts/orders"):
        (tmp_path / package / folder / "__init__.py").write_text("import re, msgspec\n")
    (tmp_path / package / f"{module}.py").write_text(f"import re, msgspec\n\n\ndef late():\n    import {foreign}\n")
    monkeypatch.syspath_prepend(tmp_path)
    graph = grimp.build_graph(package, include_external_packages=True, cache_dir=None)
    found = foreigners(graph, package)
    assert found == {f"{package}.{module.replace('/', '.')} -> {foreign.partition('.')[0]}"}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(told.stdout.split())


def test_the_back_room_does_not_carry_what_only_the_front_needs():
    """Litestar alone is 30 MB; both processes together may have 150."""
    heavy = {"litestar", "uvicorn", "alembic", "aiohttp", "httpx", "asyncpg", "typer", "hypothesis"}
    assert loaded_by("doorbuster.apps.back_room") & heavy == set()
    assert loaded_by("doorbuster.apps.http_app") & heavy >= {"litestar"}, "they would have been noticed"
