"""WebSockets on a real server: opened, refused, bounded, closed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http import bounded_ws
from doorbuster.platform.http.live import LiveRoute, LiveSocket, conduct
from doorbuster.platform.http.live import socket as live_socket
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.tree import LiveSettings
from live_server import LiveServer, closed, live_server, received
from live_things import ANN, BEN, COURIER, Missing, Things, echo

TALK = "/v1/things/5/talk"


@pytest.fixture
def things() -> Things:
    return Things(serve=echo)


@pytest.fixture
async def server(things: Things) -> AsyncIterator[LiveServer]:
    settings = LiveSettings(connections_max=8, connections_per_account_max=2)
    async with live_server([things.faces()], settings, timeout_s=0.05) as server:
        yield server
    assert (server.live.places.open, list(things.hub.topics)) == (0, []), "nothing is left behind"


async def refused(server: LiveServer, path: str, principal: Principal | None = None, **options: Any) -> tuple[int, str]:
    """(status, slug) of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as error:
        await server.connect(path, principal, **options)
    response = error.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    return response.status_code, json.loads(response.body)["slug"]


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def test_a_token_in_the_header_opens_it(server: LiveServer, things: Things):
    async with server.connect(TALK, ANN) as socket:
        ready = await received(socket)
        assert (ready["type"], ready["account_id"]) == ("ready", "1")
        await say(socket, type="x", text="茶")
        assert await received(socket) == {"type": "x", "text": "茶"}
    assert things.parameters == ["5"]


async def test_a_token_in_the_first_message_opens_it(server: LiveServer):
    async with server.connect(TALK) as socket:
        await say(socket, type="auth", token=server.token(ANN))
        assert (await received(socket))["type"] == "ready"


@pytest.mark.parametrize(
    "first",
    ["{}", "x", '{"type":"auth","token":1}', '{"type":"auth","token":"x"}', '{"type":"auth","token":"\\ud800"}'],
)
async def test_a_first_message_without_a_good_token_closes_it(server: LiveServer, things: Things, first: str):
    async with server.connect(TALK) as socket:
        await socket.send(first)
        assert await closed(socket) == 4401
    assert things.parameters == []


async def test_who_says_nothing_is_closed(server: LiveServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(conduct, "AUTHENTICATE_WITHIN_S", 0.05)
    async with server.connect(TALK) as socket:
        assert await closed(socket) == 4401


async def test_roles_are_checked_either_way(server: LiveServer, things: Things):
    assert await refused(server, TALK, COURIER) == (403, "forbidden")
    async with server.connect(TALK) as socket:
        await say(socket, type="auth", token=server.token(COURIER))
        assert await closed(socket) == 4403
    assert things.parameters == []


async def test_refusals_before_it_is_open_are_problems(server: LiveServer):
    assert await refused(server, "/v1/nothing", ANN) == (404, "route-not-found")
    assert await refused(server, "/v1/things/a/b/talk", ANN) == (404, "route-not-found")
    assert await refused(server, TALK, None, additional_headers={"Authorization": "Bearer x"}) == (401, "invalid-token")
    assert await refused(server, TALK, None, additional_headers={"Authorization": "Basic x"}) == (401, "invalid-token")


async def test_connections_per_account_are_bounded(server: LiveServer):
    async with server.connect(TALK, ANN) as one, server.connect(TALK, ANN):
        assert await refused(server, TALK, ANN) == (429, "too-many-connections")
        async with server.connect(TALK) as late:
            await say(late, type="auth", token=server.token(ANN))
            assert await closed(late) == 1013
        async with server.connect(TALK, BEN) as other:
            await received(other)
        await one.close()
        await left(server, 1)
        async with server.connect(TALK, ANN) as again:
            assert (await received(again))["type"] == "ready"


async def test_connections_of_the_process_are_bounded_and_strangers_leave_room(server: LiveServer):
    strangers = [await server.connect(TALK) for _ in range(2)]
    assert await refused(server, TALK) == (503, "live-connections-full")
    known = [await server.connect(TALK, Principal(10 + n, "customer")) for n in range(6)]
    assert await refused(server, TALK, BEN) == (503, "live-connections-full")
    for socket in [*strangers, *known]:
        await socket.close()
    await left(server, 0)


async def left(server: LiveServer, count: int) -> None:
    async with asyncio.timeout(20):
        while server.live.places.open > count:
            await asyncio.sleep(0.001)


async def test_origins_of_pages(things: Things):
    settings = LiveSettings(origins=("https://shop.example",))
    async with live_server([things.faces()], settings) as server:
        assert await refused(server, TALK, ANN, origin="https://evil.example") == (403, "origin-refused")
        async with server.connect(TALK, ANN, origin="https://shop.example"), server.connect(TALK, ANN):
            pass


async def test_the_token_ends_the_connection(things: Things):
    clock = ManualClock(1_790_000_000_000)
    ring = KeyRing([Key.generate()], clock)
    async with live_server([things.faces()], ring=ring, clock=clock) as server:
        token = server.token(ANN, 1)
        clock.advance(999)
        headers = {"Authorization": f"Bearer {token}"}
        async with server.connect(TALK, additional_headers=headers) as socket:
            assert (await received(socket))["expires_at"] == "2026-09-21T14:13:21.000Z"
            assert await closed(socket) == 4401


async def test_errors_of_the_route_are_told_and_close_it(server: LiveServer, things: Things, logged: list[Any]):
    async def missing(*_: object) -> None:
        raise Missing

    async def broken(*_: object) -> None:
        raise KeyError("secret")

    async def beside(socket: LiveSocket, parameter: str) -> None:
        socket.start(broken())
        await echo(socket, parameter)

    async def done(*_: object) -> None: ...

    for serve, code in ((missing, 4404), (broken, 1011), (beside, 1011), (done, 1000)):
        things.serve = serve
        async with server.connect(TALK, ANN) as socket:
            assert (await received(socket))["type"] == "ready"
            if serve is missing:
                assert (await received(socket))["slug"] == "not-found"
            assert await closed(socket) == code
            assert "secret" not in socket.close_reason
        await left(server, 0)
    assert [entry["event"] for entry in logged].count("live connection failed") == 2


async def test_a_slow_reader_is_closed(server: LiveServer, things: Things):
    async def flood(socket: LiveSocket, _: str) -> None:
        while True:
            socket.send(b'"%b"' % (b"x" * 20_000))
            await asyncio.sleep(0)

    things.serve = flood
    async with server.connect(TALK, ANN, max_queue=1) as socket:
        await left(server, 0)
        assert await closed(socket) == 1013


async def test_a_reader_who_takes_nothing_is_closed_and_cut_off(
    server: LiveServer, things: Things, monkeypatch: pytest.MonkeyPatch
):
    """Also when its stream is paced by it, so that no queue fills."""
    monkeypatch.setattr(live_socket, "STALLED_S", 0.05)
    monkeypatch.setattr(bounded_ws, "STALLED_S", 0.1)

    async def patient(socket: LiveSocket, _: str) -> None:
        while True:
            socket.send(b'"%b"' % (b"x" * 50_000))
            await socket.drained()

    things.serve = patient
    async with server.connect(TALK, ANN, max_queue=1) as socket:
        await left(server, 0)
        async with asyncio.timeout(20):
            while server.server.server_state.connections:
                await asyncio.sleep(0.001)
        assert await closed(socket) in (1006, 1013)


async def test_what_comes_too_fast_waits(server: LiveServer, monkeypatch: pytest.MonkeyPatch):
    """Nothing is lost."""
    monkeypatch.setattr(live_socket, "MESSAGES_PER_S", 500.0)
    async with server.connect(TALK, ANN) as socket:
        await received(socket)
        for n in range(200):
            await say(socket, n=n)
        assert [(await received(socket))["n"] for _ in range(200)] == list(range(200))


async def test_messages_of_the_wrong_kind_or_size(server: LiveServer):
    async with server.connect(TALK, ANN) as binary:
        await received(binary)
        await binary.send(b"{}")
        assert (await received(binary))["slug"] == "message-malformed"
        assert await closed(binary) == 4400
    await left(server, 0)
    async with server.connect(TALK, ANN) as large:
        await received(large)
        await large.send("x" * (bounded_ws.MESSAGE_BYTES_MAX + 1))
        assert await closed(large) == 1009
    await left(server, 0)
    async with server.connect(TALK, ANN) as fragments:
        await received(fragments)
        with contextlib.suppress(ConnectionClosed):
            await fragments.send("x" for _ in range(10_000))
        assert await closed(fragments) == 1008


async def test_a_burst_beyond_bounds_is_closed(server: LiveServer):
    async with server.connect(TALK, ANN) as socket:
        await received(socket)
        frame = b"\x81\x80\0\0\0\0"  # an empty text, masked
        socket.transport.write(frame * 10_000)
        assert await closed(socket) == 1008


async def test_dead_peers_are_found(things: Things, monkeypatch: pytest.MonkeyPatch):
    for name, value in (("PING_EVERY_S", 0.02), ("PONG_WITHIN_S", 0.02)):
        monkeypatch.setattr(f"doorbuster.platform.http.server.{name}", value)
    async with live_server([things.faces()]) as server, server.connect(TALK, ANN, close_timeout=0.1) as socket:
        await received(socket)
        socket.transport.pause_reading()
        await left(server, 0)


async def test_the_server_says_when_it_stops(things: Things):
    async with live_server([things.faces()]) as server:
        talking, listening = await server.connect(TALK, ANN), await server.connect("/v1/things/live", BEN)
        await received(talking)
        await received(listening)
        server.server.should_exit = True
        assert (await closed(talking), await closed(listening)) == (1012, 1012)


async def test_streams_go_on_behind_the_cursor(server: LiveServer, things: Things):
    for _ in range(250):
        things.add()
    async with server.connect("/v1/things/live?after=10", ANN) as socket:
        await received(socket)
        first = [await received(socket) for _ in range(240)]
        assert [int(each["cursor"]) for each in first] == list(range(11, 251))
        things.add(wake=False)
        assert await received(socket) == {"type": "item", "cursor": "251", "item": {"n": 251}}, "by the sweep"
        things.away = True
        things.add()
        things.away = False
        assert (await received(socket))["cursor"] == "252"
        await say(socket, type="anything")
        assert (await received(socket))["slug"] == "message-malformed"
    async with server.connect("/v1/things/live?after=x", ANN) as socket:
        assert await closed(socket) == 4400


async def test_a_handshake_that_is_none_is_refused(server: LiveServer):
    """uvicorn would wait for ever."""
    for extra in (b"", b"Sec-WebSocket-Key: x\r\n", b"X-Long: " + b"x" * 9000 + b"\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"GET /v1/things/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + extra
        )
        writer.write(b"\r\n")
        async with asyncio.timeout(20):
            answer = await reader.read()
        assert answer.split(b"\r\n")[0].split()[1] in (b"400", b"426"), answer
        writer.close()


async def test_an_upgrade_behind_an_unanswered_request_is_not_mixed_into_its_answer(server: LiveServer):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    upgrade = b"GET /v1/things/live HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade)
    async with asyncio.timeout(20):
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1
    writer.close()


@pytest.mark.parametrize("wrong", [{"roles": ()}, {"tags": ()}, {"summary": ""}, {"path": "/a/{b}/{c}"}])
def test_a_route_that_is_not_declared_whole_is_none(wrong: dict[str, Any]):
    whole: dict[str, Any] = {"path": "/a", "roles": ("customer",), "serve": echo, "summary": "A", "tags": ("a",)}
    LiveRoute(**whole)
    with pytest.raises(ValueError, match="live route"):
        LiveRoute(**(whole | wrong))
