"""Server-sent events on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.live import sse
from doorbuster.platform.settings.tree import LiveSettings
from live_server import LiveServer, live_server
from live_things import ANN, BEN, COURIER, Things

STREAM = "/v1/things/stream"
TIMEOUT_S = 0.05
"""The door's limit for other requests: streams live longer."""


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
async def server(things: Things) -> AsyncIterator[LiveServer]:
    settings = LiveSettings(connections_max=8, connections_per_account_max=2)
    async with live_server([things.faces()], settings, timeout_s=TIMEOUT_S) as server:
        yield server
    assert (server.live.places.open, list(things.hub.topics)) == (0, []), "nothing is left behind"


@pytest.fixture
async def client(server: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.http, timeout=20) as client:
        yield client


async def events_of(lines: AsyncIterator[str], count: int) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    at = 0
    while len(found) < count:
        line = await anext(lines)
        if line.startswith("id: "):
            at = int(line[4:])
        elif line.startswith("data: "):
            found.append((at, line[6:]))
    return found


async def gone(server: LiveServer) -> None:
    async with asyncio.timeout(20):
        while server.live.places.open:
            await asyncio.sleep(0.001)


async def test_events_come_as_they_happen_and_outlive_the_time_limit(
    server: LiveServer, client: httpx.AsyncClient, things: Things
):
    things.add()
    async with client.stream("GET", STREAM, headers=server.headers(ANN)) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        lines = answer.aiter_lines()
        assert await events_of(lines, 1) == [(1, '{"n":1}')]
        await asyncio.sleep(3 * TIMEOUT_S)
        things.add()
        assert await events_of(lines, 1) == [(2, '{"n":2}')]
    await gone(server)


async def test_coming_back_goes_on_behind_the_last_event(server: LiveServer, client: httpx.AsyncClient, things: Things):
    for _ in range(300):
        things.add()
    for headers, query in (({"Last-Event-ID": "295"}, ""), ({}, "?after=295"), ({"Last-Event-ID": "295"}, "?after=1")):
        async with client.stream("GET", STREAM + query, headers=server.headers(ANN) | headers) as answer:
            found = await events_of(answer.aiter_lines(), 5)
        assert [at for at, _ in found] == [296, 297, 298, 299, 300]
        await gone(server)


async def test_silence_has_a_heartbeat(server: LiveServer, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.01)
    async with client.stream("GET", STREAM, headers=server.headers(ANN)) as answer:
        lines = answer.aiter_lines()
        while (await anext(lines)) != ":":
            pass
    await gone(server)


async def test_who_leaves_in_silence_is_noticed_at_once(server: LiveServer, things: Things):
    """Not at the next heartbeat."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"GET {STREAM} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token(ANN)}\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"retry: 2000")
    assert server.live.places.open == 1
    writer.close()
    await gone(server)


async def test_the_token_ends_the_stream(server: LiveServer, client: httpx.AsyncClient):
    async with client.stream("GET", STREAM, headers=server.headers(ANN, lifetime_s=1)) as answer:
        assert [line async for line in answer.aiter_lines()] == ["retry: 2000", ""]


async def test_the_server_stops_and_the_client_comes_back(things: Things):
    async with (
        live_server([things.faces()]) as server,
        httpx.AsyncClient(base_url=server.http, timeout=20) as client,
        client.stream("GET", STREAM, headers=server.headers(ANN)) as answer,
    ):
        lines = answer.aiter_lines()
        await anext(lines)
        server.server.should_exit = True
        with pytest.raises(httpx.RemoteProtocolError):
            while True:
                await anext(lines)


async def test_what_is_refused(server: LiveServer, client: httpx.AsyncClient):
    async def slug(principal: Principal | None, **headers: str) -> tuple[int, str]:
        sent = headers if principal is None else server.headers(principal) | headers
        answer = await client.get(STREAM, headers=sent)
        return answer.status_code, answer.json()["slug"]

    assert await slug(None) == (401, "unauthenticated")
    assert await slug(COURIER) == (403, "forbidden")
    assert await slug(ANN, **{"Last-Event-ID": "x"}) == (400, "bad-cursor")
    assert await slug(ANN, **{"Last-Event-ID": "9" * 19}) == (400, "bad-cursor")
    head = server.headers(ANN)
    async with client.stream("GET", STREAM, headers=head), client.stream("GET", STREAM, headers=head):
        assert await slug(ANN) == (429, "too-many-connections")
        assert (await client.head(STREAM, headers=server.headers(BEN))).status_code == 200
    await gone(server)


async def test_an_outage_is_waited_out(server: LiveServer, client: httpx.AsyncClient, things: Things, monkeypatch):
    monkeypatch.setattr("doorbuster.platform.http.live.following.OUTAGE_PAUSE_S", 0.01)
    monkeypatch.setattr("doorbuster.platform.bus.hub.OUTAGE_PAUSE_S", 0.01)
    async with client.stream("GET", STREAM, headers=server.headers(ANN)) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        things.away = True
        things.add()
        asked = things.questions
        while things.questions < asked + 2:
            await asyncio.sleep(0.001)
        things.away = False
        assert await events_of(lines, 1) == [(1, '{"n":1}')]
    await gone(server)


async def test_a_plain_request_to_a_socket_is_told_so(server: LiveServer, client: httpx.AsyncClient):
    answer = await client.get("/v1/things/live", headers=server.headers(ANN))
    assert (answer.status_code, answer.json()["slug"], answer.headers["upgrade"]) == (
        426,
        "upgrade-required",
        "websocket",
    )
    async with asyncio.timeout(20):  # this server's time limit is short: the document is made meanwhile, and kept
        while (document := await client.get("/openapi.json")).status_code == 503:
            pass
    assert "Roles: customer." in document.json()["paths"]["/v1/things/live"]["get"]["description"]
