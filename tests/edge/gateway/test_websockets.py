"""WebSockets passed on to a real second server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from doorbuster.edge.gateway.settings import Authentication, GatewaySettings, Route, Share, Upstream
from doorbuster.platform.http.raw import Receive, Scope, Send
from edge.gateway.world import UNTIL_S, World, gateway_world, served, to
from leaks import Leaks


class Far:
    """A WebSocket server: echoes, and does what a message says."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.closed: list[tuple[int, str]] = []
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await receive()
        if scope["path"] == "/refuse":
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            return
        chosen = next(iter(scope["subprotocols"]), None)
        await send({"type": "websocket.accept", "subprotocol": chosen})
        try:
            await self._talk(receive, send)
        finally:
            self.ended.set()

    async def _talk(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.closed.append((message["code"], message.get("reason") or ""))
                return
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4403, "reason": "enough"})
                return
            await send(
                {
                    "type": "websocket.send",
                    **{k: v for k, v in message.items() if k in ("text", "bytes") and v is not None},
                }
            )


@asynccontextmanager
async def through(leaks: Leaks) -> AsyncIterator[tuple[Far, World, str]]:
    far = Far()
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        yield far, world, f"ws://127.0.0.1:{world.at.port}"


async def test_messages_pass_both_ways_with_subprotocol_and_headers(leaks: Leaks):
    async with through(leaks) as (far, _, url), asyncio.timeout(UNTIL_S):
        sent = {"X-Own": "1", "X-Forwarded-For": "6.6.6.6", "X-Request-Id": "mine"}
        async with connect(
            f"{url}/chat?after=1",
            subprotocols=["a", "b"],
            additional_headers=sent,
            proxy=None,  # type: ignore[list-item]
        ) as socket:
            assert socket.subprotocol == "a"
            for message in ("text", "字", b"bytes", "x" * 60_000):
                await socket.send(message)
                assert await socket.recv() == message
        await far.ended.wait()
    headers = dict(far.scopes[0]["headers"])
    assert (far.scopes[0]["path"], far.scopes[0]["query_string"]) == ("/chat", b"after=1")
    assert (headers[b"x-own"], headers[b"x-forwarded-for"], headers[b"x-request-id"]) == (b"1", b"127.0.0.1", b"mine")
    assert far.closed == [(1000, "")]


async def test_either_end_closes_the_other_with_its_code(leaks: Leaks):
    async with through(leaks) as (far, _, url), asyncio.timeout(UNTIL_S):
        async with connect(f"{url}/x", proxy=None) as socket:
            await socket.send("close")
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None
            assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4403, "enough")
        far.ended.clear()
        socket = await connect(f"{url}/x", proxy=None)
        await socket.close(4001, "bye")
        await far.ended.wait()
    assert far.closed == [(4001, "bye")]


async def test_a_client_that_vanishes_ends_the_socket_there(leaks: Leaks):
    async with through(leaks) as (far, _, url), asyncio.timeout(UNTIL_S):
        socket = await connect(f"{url}/x", proxy=None)
        await socket.send("x")
        await socket.recv()
        socket.transport.abort()
        await far.ended.wait()


async def test_a_server_that_dies_closes_the_client_with_1014(leaks: Leaks):
    async with through(leaks) as (far, world, url), asyncio.timeout(UNTIL_S):
        async with connect(f"{url}/x", proxy=None) as socket:
            await socket.send("x")
            await socket.recv()
            session: Any = world.gateway._client.session
            for connections in list(session.connector._acquired):
                connections.transport.abort()
            with pytest.raises(ConnectionClosed) as ended:
                await socket.recv()
            assert ended.value.rcvd is not None
            assert ended.value.rcvd.code == 1014
        await far.ended.wait()


async def test_a_refusal_passes_and_nobody_there_is_a_problem(leaks: Leaks):
    async with through(leaks) as (_, world, url), asyncio.timeout(UNTIL_S):
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/refuse", proxy=None)
        assert refused.value.response.status_code == 403
        world.settings = to("far", "http://127.0.0.1:1")
        with pytest.raises(InvalidStatus) as away:
            await connect(f"{url}/x", proxy=None)
        assert away.value.response.status_code == 503
        assert b"upstream-unavailable" in away.value.response.body


async def test_plugins_and_routes_count_for_sockets_too(leaks: Leaks):
    far = Far()
    async with served(far, leaks) as there:
        settings = GatewaySettings(
            (Route("s", "/s/**", to=(Share("far"),), plugins=(Authentication(required=True),)),),
            (Upstream("far", (there.url,)),),
        )
        async with gateway_world(settings, leaks=leaks) as world, asyncio.timeout(UNTIL_S):
            url = f"ws://127.0.0.1:{world.at.port}"
            for path, status in (("/s/x", 401), ("/other", 404), ("/s/../x", 400)):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url + path, proxy=None)
                assert refused.value.response.status_code == status
            async with connect(f"{url}/s/x", additional_headers=world.headers(1), proxy=None) as socket:
                await socket.send("x")
                assert await socket.recv() == "x"
    assert [scope["path"] for scope in far.scopes] == ["/s/x"]
