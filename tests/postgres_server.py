"""The PostgreSQL of the tests: the server at DOORBUSTER_TEST_POSTGRES (a URL whose user may create databases), else
one of our own. Never skipped: no server is an error.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from doorbuster.lab.postgres_server import PostgresServer

GIVEN = "DOORBUSTER_TEST_POSTGRES"

__all__ = ["GIVEN", "PostgresServer", "standing_still", "start_postgres"]


def start_postgres() -> PostgresServer:
    """Raises NoPostgres."""
    return PostgresServer.start(os.environ.get(GIVEN))


@contextmanager
def standing_still(server: PostgresServer) -> Generator[None]:
    """The server and all its processes are stopped: connections stay open, and nothing is answered."""
    assert server._folder is not None, "only a server started here"
    first = int((server._folder / "data" / "postmaster.pid").read_text().split()[0])
    stopped = [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in stopped:
            os.kill(process, signal.SIGCONT)
