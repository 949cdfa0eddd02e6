"""The Redis of the tests: the server at DOORBUSTER_TEST_REDIS, else one of our own. Never skipped: no server is an
error."""

from __future__ import annotations

import os

from doorbuster.lab.redis_server import RedisServer

GIVEN = "DOORBUSTER_TEST_REDIS"

__all__ = ["GIVEN", "RedisServer", "start_redis"]


def start_redis() -> RedisServer:
    """Raises NoRedis."""
    return RedisServer.start(os.environ.get(GIVEN))
