"""A shop whose server dies: killed by itself at a crash point, and started again on the same data."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.settings.secrets import load_secrets
from doorbuster.platform.settings.tree import Settings
from doorbuster.platform.telemetry.crash_points import VARIABLE
from journeys.api_shop import ApiShop, Person, await_ready, hire, run, start, stop

DIES_WITHIN_S = 30.0
SETTLED_WITHIN_S = 60.0


@dataclass
class MortalShop:
    """`serve` in one process, so that its crash is everything's."""

    folder: Path
    settings: Settings
    people: Mapping[str, Person]
    simulator_url: str
    environment: Mapping[str, str]

    @contextmanager
    def serving(self, crash_at: str = "") -> Generator[ApiShop]:
        """A server until the block ends, if it lives that long."""
        log = self.folder / "server.log"
        crash = {VARIABLE: crash_at} if crash_at else {}
        process = start(self.settings, log, self.simulator_url, False, {**self.environment, **crash})
        try:
            base_url = await_ready(process, log)
            with httpx.Client(base_url=base_url, timeout=30) as client:
                yield ApiShop(base_url, Path(self.settings.data), log, self.settings, self.people, client)
            if crash_at:
                assert process.wait(DIES_WITHIN_S) == -signal.SIGKILL, f"it did not come to {crash_at}"
        finally:
            stop(process)

    def die_at(self, point: str, story: Callable[[ApiShop], object]) -> None:
        """Lives the story until the server kills itself at `point`."""
        with self.serving(point) as shop:
            try:
                story(shop)
                while True:  # it dies behind the story's back
                    shop.get("/healthz")
                    time.sleep(0.02)
            except httpx.TransportError:
                return

    def audited(self) -> None:
        """Waits until the audit of the running shop holds, with nothing under way. What is broken fails at once."""
        deadline_s = time.monotonic() + SETTLED_WITHIN_S
        while True:
            command = [sys.executable, "-m", "doorbuster", "audit", "--json", "--data", self.settings.data]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            assert ended.stdout, ended.stderr
            found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
            assert found["ok"], [check for check in found["checks"] if not check["ok"]]
            if all(check.get("verdict", "holds") == "holds" for check in found["checks"]):
                return
            assert time.monotonic() < deadline_s, found
            time.sleep(0.2)


@contextmanager
def mortal_shop(folder: Path, environment: Mapping[str, str]) -> Generator[MortalShop]:
    settings = Settings(data=str(folder / "data"))
    people = run(hire(settings))
    secrets = load_secrets(settings).webhook_secrets
    with SimulatorProcess(folder / "simulator.sqlite", secrets=secrets) as simulator:
        yield MortalShop(folder, settings, people, simulator.base_url, environment)
