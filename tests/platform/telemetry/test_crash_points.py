"""Crash points: the process dies where it was told to, the n-th time, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

CODE = """
from doorbuster.platform.telemetry.crash_points import crash_point
try:
    for n in range(1, 4):
        for name in ("relay.applied", "relay.applied-later"):
            crash_point(name)
            print(name, n, flush=True)
finally:
    print("finally", flush=True)
"""
EVERYTHING = [f"{name} {n}" for n in range(1, 4) for name in ("relay.applied", "relay.applied-later")]


@pytest.mark.parametrize(
    ("crash_at", "survived"),
    [("", 6), ("relay", 6), ("relay.applied", 0), ("relay.applied:2", 2), ("relay.applied-later:3", 5)],
)
def test_it_dies_like_in_a_power_cut(crash_at: str, survived: int):
    environment = {**os.environ, "DOORBUSTER_CRASH_AT": crash_at}
    ended = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=60)
    died = survived < len(EVERYTHING)
    assert ended.returncode == (-signal.SIGKILL if died else 0)
    assert ended.stdout.splitlines() == EVERYTHING[:survived] + ([] if died else ["finally"])
