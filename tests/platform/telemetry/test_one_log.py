"""Door and back room write into one log: their lines never end up in one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

LINES, PROCESSES = 300, 4
CHATTER = f"""
import structlog
from doorbuster.platform.telemetry.logs import configure_logs
configure_logs(as_json=True)
for number in range({LINES}):
    structlog.get_logger("chatter").info("said", number=number)
"""


def test_lines_of_several_processes_stay_whole_also_without_a_buffer(tmp_path: Path):
    log = tmp_path / "log"
    with log.open("ab") as file:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}  # as images set it
        chatting = [
            subprocess.Popen([sys.executable, "-c", CHATTER], stderr=file, env=environment) for _ in range(PROCESSES)
        ]
        assert [process.wait(60) for process in chatting] == [0] * PROCESSES
    said = [json.loads(line)["number"] for line in log.read_text("utf-8").splitlines()]
    assert sorted(said) == sorted(list(range(LINES)) * PROCESSES)
