"""Every process knows every runtime setting."""

from __future__ import annotations

import subprocess
import sys

ALL = """
import importlib, pkgutil, doorbuster
for module in pkgutil.walk_packages(doorbuster.__path__, "doorbuster."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""
TELL = "\nfrom doorbuster.platform.settings.declared import all_declared\nprint(*all_declared())"


def declared_by(code: str) -> list[str]:
    told = subprocess.run([sys.executable, "-c", code + TELL], capture_output=True, text=True, check=True, timeout=120)
    return told.stdout.split()


def test_whoever_builds_a_shop_knows_every_setting():
    """One that is missing is declared in a module that apps/runtime_settings.py does not name."""
    everything = declared_by(ALL)
    assert declared_by("import doorbuster.apps.shop") == everything
    assert "logs" in everything
