"""A provider of one's own, to be killed and stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

SECRET = "the secret of the tests"


@pytest.fixture
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    data = tmp_path_factory.mktemp("simulator") / "own.sqlite"
    simulator = SimulatorProcess(data, secrets=[SECRET], arguments=("--webhooks", "off")).start()
    yield simulator
    simulator.kill()
