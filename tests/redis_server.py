"""The Redis of the tests: the server at DOORBUSTER_TEST_REDIS, else one of our own. Never skipped: no server is an
error."""

from __future__ import annotations

import os

from doorbuster.lab.redis_server import RedisServer

GIVEN = "DOORBUSTER_TEST_REDIS"

__all__ = ["GIVEN", "RedisServer", "start_redis"]


def start_redis(*, own: bool = False, port: int | None = None) -> RedisServer:
    """An empty one. `own`: one that a test may kill, whatever is given; on `port` if that was its port before.

    Raises NoRedis.
    """
    return RedisServer.start(None if own else os.environ.get(GIVEN), port)
