"""Runs a test's own script in a process that dies at a crash point."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from doorbuster.platform.telemetry.crash_points import VARIABLE

TESTS = Path(__file__).parents[1]


async def die(child: str, at: str, job: msgspec.Struct) -> None:
    """`child` is a module below tests that takes `job` as JSON. It must be killed at `at`, by itself."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        child,
        msgspec.json.encode(job).decode(),
        env={**os.environ, VARIABLE: at, "PYTHONPATH": path},
    )
    assert await process.wait() == -signal.SIGKILL, f"it did not come to {at}"
