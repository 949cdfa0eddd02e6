"""Which core does what, so that the generator takes nothing from the server that it measures."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator

if sys.platform == "linux":

    def split_cores() -> tuple[set[int], set[int]] | None:
        """One core for the server, the others for the generator; None where there is only one."""
        server, *others = sorted(os.sched_getaffinity(0))
        return ({server}, set(others)) if others else None

    @contextlib.contextmanager
    def running_on(cores: set[int] | None) -> Generator[None]:
        """This thread, and the processes that it starts meanwhile for as long as they live."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores or before)
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)

else:

    def split_cores() -> tuple[set[int], set[int]] | None:
        """Only Linux lets itself be told."""
        return None

    @contextlib.contextmanager
    def running_on(cores: set[int] | None) -> Generator[None]:  # noqa: ARG001 - as on Linux
        """Wherever the system likes."""
        yield
