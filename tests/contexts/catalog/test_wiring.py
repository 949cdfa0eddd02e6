"""The catalogue in a process that answers no HTTP."""

from __future__ import annotations

import subprocess
import sys


def test_the_back_room_does_not_load_the_web_framework():
    code = (
        "import sys, doorbuster.contexts.catalog.wiring; "
        "print([m for m in ('litestar', 'alembic', 'doorbuster.contexts.catalog.http') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
