"""Every test here is watched: a task that is left behind fails it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest) -> None:
    if "by_chance" not in request.node.nodeid:  # a state machine has loops of its own, and looks there
        request.getfixturevalue("leaks")
