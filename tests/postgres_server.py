"""The PostgreSQL of the tests: the server at DOORBUSTER_TEST_POSTGRES (a URL whose user may create databases), else
one of our own. Never skipped: no server is an error.
"""

from __future__ import annotations

import os

from doorbuster.lab.postgres_server import PostgresServer

GIVEN = "DOORBUSTER_TEST_POSTGRES"

__all__ = ["GIVEN", "PostgresServer", "start_postgres"]


def start_postgres() -> PostgresServer:
    """Raises NoPostgres."""
    return PostgresServer.start(os.environ.get(GIVEN))
