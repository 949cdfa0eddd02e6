"""How much is logged changes while the process runs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from doorbuster.platform.settings.runtime import Runtime
from doorbuster.platform.telemetry.log_level import follow_log_level
from doorbuster.platform.telemetry.logs import configure_logs, set_log_level
from settings_groups import stored


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a process that begins with the level "warning" writes to standard error."""
    saved, root, written = structlog.get_config(), logging.getLogger(), io.StringIO()
    handlers = root.handlers[:]
    with contextlib.redirect_stderr(written):
        configure_logs("warning", "test", as_json=True)
    yield written
    set_log_level("info")
    structlog.configure(**saved)
    structlog.contextvars.clear_contextvars()
    root.handlers = handlers


def test_the_level_changes_under_loggers_that_are_in_use_already(written: io.StringIO):
    log = structlog.get_logger("level")
    runtime = Runtime()
    follow_log_level(runtime, "warning")
    said: list[list[str]] = []
    for version, entries in enumerate(({}, {"logs": {"level": "debug"}}, {"logs": {"level": "error"}}, {}), start=1):
        runtime.apply(stored(version, entries))
        at = written.tell()
        for level in ("debug", "info", "warning", "error"):
            getattr(log, level)("said")
        try:
            raise RuntimeError
        except RuntimeError:
            log.exception("said")
        said.append([json.loads(line)["level"] for line in written.getvalue()[at:].splitlines()])
    assert said == [
        ["warning", "error", "error"],
        ["debug", "info", "warning", "error", "error"],
        ["error", "error"],
        ["warning", "error", "error"],
    ]


def test_a_level_that_is_set_before_a_process_looks_holds_from_the_start(written: io.StringIO):
    runtime = Runtime()
    runtime.apply(stored(1, {"logs": {"level": "error"}}))
    follow_log_level(runtime, "warning")
    structlog.get_logger("level").warning("not worth it")
    assert written.getvalue() == ""
