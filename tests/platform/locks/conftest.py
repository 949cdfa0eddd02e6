"""Every kind of lock, each opening as if by another process."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from doorbuster.platform.locks.holding import Holding
from locks_opening import ENGINES, opened
from redis_server import RedisServer, start_redis

LONG_MS = 60_000
"""A lease that no test outlives."""
OpenLocks = Callable[..., Awaitable[Holding]]


@pytest.fixture(scope="session")
def three_redis() -> Iterator[list[RedisServer]]:
    servers = [start_redis(own=True) for _ in range(3)]
    yield servers
    for server in servers:
        server.stop()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def places(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> str:
    if engine == "redis":
        return request.getfixturevalue("redis_server").url
    if engine == "redis-cluster":
        return request.getfixturevalue("redis_cluster").url
    if engine == "redlock":
        return ",".join(server.url for server in request.getfixturevalue("three_redis"))
    if engine == "rows-sqlite":
        return str(tmp_path)
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def prefix() -> str:
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture
async def open_locks(engine: str, places: str, prefix: str) -> AsyncIterator[OpenLocks]:
    closing: list[Callable[[], Awaitable[None]]] = []

    async def open_one(lease_ms: int = LONG_MS) -> Holding:
        locks, close = await opened(engine, places, prefix, lease_ms)
        closing.append(close)
        return locks

    yield open_one
    for close in closing:
        await close()
