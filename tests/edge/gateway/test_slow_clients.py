"""A thousand clients that send or take as slowly as they can: they are closed at the bound, and nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from doorbuster.platform.http.bounded_http import TOLD_MAX
from doorbuster.platform.http.raw import Receive, Scope, Send
from edge.gateway.world import UNTIL_S, World, gateway_world, until
from leaks import Leaks

SLOW_CLIENTS = 1_000
ARRIVAL_S = 1.5
BYSTANDERS, ASKED = 8, 40

SLOW = {
    "head": b"GET /x HTTP/1.1\r\nhost: x\r\nx-slow: a",
    "body": b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\na",
    "read": b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n",
    "silent": b"",
}


@asynccontextmanager
async def slow_world(leaks: Leaks) -> AsyncIterator[World]:
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(64 * 1024), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with gateway_world(leaks=leaks, arrival_s=ARRIVAL_S) as world:
        world.local.answers["/large"] = large
        yield world


class SlowClient:
    """Sends the beginning, then a byte now and then; takes nothing of the answer if it is a slow reader."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.closed = False

    async def run(self, port: int) -> None:
        sock = socket.socket()
        if self.kind == "read":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
        try:
            writer.write(SLOW[self.kind])
            if self.kind == "read":
                writer.transport.pause_reading()  # type: ignore[attr-defined]
                await self._closed_while_not_reading(writer)
            else:
                await self._drips(reader, writer)
        except ConnectionError:
            self.closed = True
        finally:
            writer.transport.abort()

    async def _drips(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended = asyncio.create_task(reader.read(-1))
        while not ended.done():
            if self.kind != "silent":
                writer.write(b"a")
            await asyncio.wait({ended}, timeout=ARRIVAL_S / 4)
        await ended
        self.closed = True

    async def _closed_while_not_reading(self, writer: asyncio.StreamWriter) -> None:
        """The server resets the connection, which shows when something is sent."""
        sock: socket.socket = writer.get_extra_info("socket")
        while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[0] == 1:  # established
            await asyncio.sleep(ARRIVAL_S / 10)
        self.closed = True


@pytest.mark.parametrize("kind", SLOW)
async def test_slow_clients_are_closed_at_the_bound_and_all_others_are_answered(leaks: Leaks, kind: str):
    async with slow_world(leaks) as world, asyncio.timeout(UNTIL_S):
        slow = [SlowClient(kind) for _ in range(SLOW_CLIENTS // len(SLOW))]
        slowing = [asyncio.create_task(client.run(world.at.port)) for client in slow]
        connections: set[object] = world.at.server.server_state.connections
        await until(lambda: len(connections) >= len(slow) or all(task.done() for task in slowing))
        assert await bystanders(world) == {200: BYSTANDERS * ASKED}
        await asyncio.gather(*slowing)
        assert all(client.closed for client in slow)


async def test_a_thousand_of_all_kinds_at_once(leaks: Leaks):
    async with slow_world(leaks) as world, asyncio.timeout(UNTIL_S):
        kinds = list(SLOW)
        slow = [SlowClient(kinds[number % len(kinds)]) for number in range(SLOW_CLIENTS)]
        slowing = [asyncio.create_task(client.run(world.at.port)) for client in slow]
        assert await bystanders(world) == {200: BYSTANDERS * ASKED}
        await asyncio.gather(*slowing)
        assert all(client.closed for client in slow)
        await until(lambda: not world.at.server.server_state.connections)
        assert await bystanders(world) == {200: BYSTANDERS * ASKED}


async def bystanders(world: World) -> dict[int, int]:
    """How many answers of each status clients get that behave."""
    statuses: dict[int, int] = {}

    async def ask(client: aiohttp.ClientSession) -> None:
        for number in range(ASKED):
            async with client.post("/x", data=b"x" * number) as got:
                await got.read()
                statuses[got.status] = statuses.get(got.status, 0) + 1

    async with aiohttp.ClientSession(world.at.url) as client:
        await asyncio.gather(*(ask(client) for _ in range(BYSTANDERS)))
    return statuses


# --- connections ----------------------------------------------------------------------------------------------------


async def test_one_connection_too_many_is_told_and_closed(leaks: Leaks):
    async with gateway_world(leaks=leaks, connections_max=5) as world, asyncio.timeout(UNTIL_S):
        ask = b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n"
        held = [await world.at.connect() for _ in range(5)]
        for reader, writer in held:
            writer.write(ask)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
        for _ in range(10):
            told = await world.at.raw(ask)
            assert told.startswith(b"HTTP/1.1 503 ")
            assert b'"slug":"connections-full"' in told
            assert b"retry-after: 1\r\n" in told
            assert b"connection: close\r\n" in told
        held[0][1].close()
        await until(lambda: len(world.at.server.server_state.connections) == 4)
        assert (await world.client.get("/x")).status_code == 200
        for _, writer in held[1:]:
            writer.close()


async def test_beyond_the_bound_who_asks_nothing_is_closed_and_a_crowd_at_once(leaks: Leaks):
    async with gateway_world(leaks=leaks, connections_max=2) as world, asyncio.timeout(UNTIL_S):
        held = [await world.at.connect() for _ in range(2)]
        connections: set[object] = world.at.server.server_state.connections
        await until(lambda: len(connections) == 2)
        crowd = [await world.at.connect() for _ in range(TOLD_MAX + 100)]
        await until(lambda: len(connections) <= 2 + TOLD_MAX)
        for reader, writer in crowd:
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
        for _, writer in held:
            writer.close()
