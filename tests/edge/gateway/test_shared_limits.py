"""Two gateways, one Redis: a limit holds for both together, and while Redis is away as declared."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from doorbuster.apps.gateway import limiters_of
from doorbuster.edge.gateway.settings import GatewaySettings, RateLimit, Route
from doorbuster.platform.limits.hasty_redis import HastyRedis
from doorbuster.platform.redis import Redis
from doorbuster.platform.settings.config_store import Snapshot
from doorbuster.platform.settings.runtime import Runtime
from edge.gateway.world import World, gateway_world
from redis_server import RedisServer, start_redis

LIMIT, INSTANCES = 10, 2
SETTINGS = GatewaySettings(
    (
        Route("selling", "/sell", plugins=(RateLimit("claims"),)),
        Route("logging in", "/log-in", plugins=(RateLimit("sessions"),)),
        Route("browsing", "/look/{what}", plugins=(RateLimit("browsing"), RateLimit("hot", by="path"))),
    )
)
STORED = {
    "limits.claims": b'{"value":{"limit":10,"burst":10,"period_s":86400}}',
    "limits.sessions": b'{"value":{"limit":10,"period_s":86400}}',
    "limits.browsing": b'{"value":{"limit":10,"burst":10,"period_s":86400}}',
    "limits.sharing": b'{"value":{"instances":2}}',
}


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    server = start_redis(own=True)
    yield server
    server.stop()


@asynccontextmanager
async def gateway_on(redis: RedisServer, stored: dict[str, bytes] = STORED) -> AsyncIterator[World]:
    """A server of its own, as far as limits are concerned."""
    runtime = Runtime()
    runtime.apply(Snapshot(1, stored))
    client = Redis(redis.url)
    hasty = HastyRedis(client)
    try:
        async with gateway_world(SETTINGS, limiters=dict(limiters_of(runtime, hasty))) as world:
            yield world
    finally:
        await hasty.close()
        await client.close()


@asynccontextmanager
async def two_on(redis: RedisServer) -> AsyncIterator[list[World]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(gateway_on(redis)) for _ in range(INSTANCES)]


async def ask(worlds: list[World], path: str, times: int) -> Counter[int]:
    """Each world in turn; the answers by status."""
    answers: Counter[int] = Counter()
    for turn in range(times):
        answers[(await worlds[turn % len(worlds)].client.get(path)).status_code] += 1
    return answers


@pytest.mark.parametrize("path", ["/sell", "/log-in", "/look/x"])
async def test_two_servers_count_together(redis: RedisServer, path: str):
    async with two_on(redis) as worlds:
        assert await ask(worlds, path, 2 * LIMIT + 4) == {200: LIMIT, 429: LIMIT + 4}
        refused: httpx.Response = await worlds[0].client.get(path)
        assert refused.json()["slug"] == "rate-limited"
        assert int(refused.headers["retry-after"]) > 1


@pytest.mark.parametrize("trouble", ["killed", "stopped"])
async def test_without_redis_selling_goes_by_shares_and_browsing_is_open(redis: RedisServer, trouble: str):
    async with two_on(redis) as worlds:
        assert redis.pid is not None
        os.kill(redis.pid, signal.SIGKILL if trouble == "killed" else signal.SIGSTOP)
        try:
            share = LIMIT // INSTANCES
            assert await ask(worlds[:1], "/sell", LIMIT) == {200: share, 429: LIMIT - share}
            assert await ask(worlds[1:], "/sell", LIMIT) == {200: share, 429: LIMIT - share}
            assert await ask(worlds, "/log-in", 2 * LIMIT) == {200: LIMIT, 429: LIMIT}
            assert await ask(worlds, "/look/x", 3 * LIMIT) == {200: 3 * LIMIT}
        finally:
            if trouble == "stopped":
                os.kill(redis.pid, signal.SIGCONT)


async def test_only_what_turns_out_to_be_hot_is_limited(redis: RedisServer):
    hot = {
        "limits.hot": b'{"value":{"limit":5,"burst":5,"period_s":86400}}',
        "limits.hot_values": b'{"value":{"hot_per_s":0.5,"half_life_s":3600}}',
    }
    # A count of r fades so slowly that it is hot after hot_per_s * half-life / ln 2 questions: never in this test...
    async with gateway_on(redis, hot) as world:
        assert await ask([world], "/look/cold", 20) == {200: 20}
    # ...and with a short half-life after a few.
    hot["limits.hot_values"] = b'{"value":{"hot_per_s":0.5,"half_life_s":30}}'
    async with gateway_on(redis, hot) as world:
        answers = await ask([world], "/look/wanted", 60)
        assert answers[429] > 0
        assert await ask([world], "/look/another", 10) == {200: 10}, "its neighbours are not"
