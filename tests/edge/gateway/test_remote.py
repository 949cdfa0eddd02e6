"""Requests passed on to a real second server: streams, deadlines, deaths, and who is told what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import httpx
import pytest

from doorbuster.edge.leaving import EndsWithClient
from doorbuster.platform.http.problems import GatewayTimeout
from doorbuster.platform.http.raw import Receive, Scope, Send
from edge.gateway.world import UNTIL_S, Echo, answer, gateway_world, served, to, until, whole_body
from leaks import Leaks


@contextlib.asynccontextmanager
async def passed_on(leaks: Leaks, **options: object) -> AsyncIterator[tuple[Echo, httpx.AsyncClient, str]]:
    """A gateway that passes everything on to a server of its own; that server, a client, the gateway's address."""
    far = Echo("far")
    async with (
        served(far, leaks) as there,
        gateway_world(to("far", there.url, **options), leaks=leaks) as world,
    ):
        yield far, world.client, world.at.url


async def test_method_target_body_and_answer_arrive_as_they_are(leaks: Leaks):
    async with passed_on(leaks) as (far, client, _):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
            got = await client.request(method, "/a%20b/ü?x=%2F&y=1&y=2", content=b"body" if method != "GET" else None)
            assert got.status_code == 200
            assert got.json()["method"] == method
            assert got.json()["target"] == "/a%20b/%C3%BC?x=%2F&y=1&y=2"
            assert far.seen[-1].body == (b"" if method == "GET" else b"body")
        head = await client.head("/x")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0


@pytest.mark.parametrize("status", [201, 204, 301, 304, 404, 409, 500, 503])
async def test_any_status_passes_and_no_redirect_is_followed(leaks: Leaks, status: int):
    async def say(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"" if status in (204, 304) else b"{}"
        headers = [
            (b"location", b"http://127.0.0.1:1/"),
            (b"x-own", b"1"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
        ]
        if body:
            headers.append((b"content-length", b"2"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async with passed_on(leaks) as (far, client, _):
        far.answers["/x"] = say
        got = await client.get("/x")
        assert got.status_code == status
        assert got.headers["x-own"] == "1"
        assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_streams_flow_both_ways_at_the_same_time(leaks: Leaks):
    """The other server answers each part as it comes, before the request is whole."""

    async def echo(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})

    async with passed_on(leaks) as (far, _, url):
        far.answers["/echo"] = echo
        parts: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def upload() -> AsyncIterator[bytes]:
            while (part := await parts.get()) is not None:
                yield part

        await parts.put(b"first")
        async with (
            asyncio.timeout(UNTIL_S),
            aiohttp.ClientSession() as session,
            session.post(f"{url}/echo", data=upload()) as got,
        ):
            assert await got.content.readany() == b"first"
            await parts.put(b"second")
            assert await got.content.readany() == b"second"
            await parts.put(None)
            assert await got.content.readany() == b""


async def test_a_slow_reader_holds_the_other_server_back(leaks: Leaks):
    sent = [0]

    async def pour(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with contextlib.suppress(OSError):
            for _ in range(2_000):
                await send({"type": "http.response.body", "body": bytes(32 * 1024), "more_body": True})
                sent[0] += 1
        await send({"type": "http.response.body", "body": b""})

    far = Echo("far", answers={"/pour": pour})
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        reader, writer = await world.at.connect()
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /pour HTTP/1.1\r\nhost: x\r\n\r\n")
        await until(lambda: any(each.flow.write_paused for each in there.server.server_state.connections))
        held = sent[0]
        # Buffers of two sockets and two programs: a fraction of the 64 MB.
        assert held < 1_000
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(UNTIL_S):
            size = 0
            while not (part := await reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
                size += len(part)
        assert sent[0] == 2_000
        assert size > 60_000_000
        writer.close()


async def test_a_body_beyond_the_bound_is_refused_and_the_other_server_sees_no_whole_request(leaks: Leaks):
    whole = [0]

    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body"):
                whole[0] += 1
                break
        await answer(send, {})

    async with passed_on(leaks, body_bytes_max=1000) as (far, client, _):
        far.answers["/take"] = take

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(11):
                yield bytes(100)

        declared = await client.post("/take", content=bytes(1001))
        chunked = await client.post("/take", content=parts())
        for got in (declared, chunked):
            assert (got.status_code, got.json()["slug"]) == (413, "body-too-large")
        assert whole[0] == 0
        assert (await client.post("/take", content=bytes(1000))).status_code == 200


async def test_server_sent_events_pass_at_once_and_outlive_every_limit(leaks: Leaks):
    gates = [asyncio.Event() for _ in range(3)]

    async def events(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endless"] = True
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, gate in enumerate(gates):
            await gate.wait()
            await send({"type": "http.response.body", "body": b"data: %d\n\n" % number, "more_body": True})
        await until_gone(scope)

    async with passed_on(leaks, answer_s=0.2, stalled_s=60.0) as (far, client, _):
        far.answers["/events"] = events
        async with client.stream("GET", "/events", headers={"X-Request-Timeout-Ms": "300"}) as got:
            assert got.headers["content-type"].startswith("text/event-stream")
            lines = got.aiter_lines()
            for number, gate in enumerate(gates):
                await asyncio.sleep(0.2)  # longer than its deadline in all
                gate.set()
                assert await anext(lines) == f"data: {number}"
                assert await anext(lines) == ""


async def until_gone(scope: Scope) -> None:
    with EndsWithClient(scope):
        await asyncio.Event().wait()


async def test_the_server_stops_and_does_not_wait_for_a_stream(leaks: Leaks):
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endless"] = True
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b":\n\n", "more_body": True})
        await until_gone(scope)

    far = Echo("far", answers={"/s": endless})
    async with served(far, leaks) as there:
        async with gateway_world(to("far", there.url), leaks=leaks) as world:
            reader, writer = await world.at.connect()
            writer.write(b"GET /s HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b":\n\n")
        async with asyncio.timeout(UNTIL_S):
            await reader.read()
        writer.close()


async def test_a_server_that_is_slow_to_answer_is_a_504_and_its_work_ends(leaks: Leaks):
    left = asyncio.Event()

    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        await whole_body(receive)
        await until_gone(scope)
        left.set()

    async with passed_on(leaks, answer_s=0.1) as (far, client, _):
        far.answers["/never"] = never
        for method in ("GET", "POST"):
            left.clear()
            got = await client.request(method, "/never", content=b"x" if method == "POST" else None)
            assert (got.status_code, got.json()["slug"]) == (504, "gateway-timeout")
            assert got.headers["content-type"] == "application/problem+json"
            async with asyncio.timeout(UNTIL_S):
                await left.wait()


async def test_the_callers_deadline_counts_if_it_is_sooner_and_travels(leaks: Leaks):
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        await until_gone(scope)

    async with passed_on(leaks, answer_s=60.0) as (far, client, _):
        far.answers["/never"] = never
        got = await client.get("/never", headers={"X-Request-Timeout-Ms": "100"})
        assert got.json()["slug"] == GatewayTimeout.slug
        await client.get("/x", headers={"X-Request-Timeout-Ms": "5000"})
        (told,) = far.seen[-1].values("x-request-timeout-ms")
        assert 0 < int(told) <= 5000
        for bad in ("0", "-1", "1.5", "soon", "99999999", ""):
            got = await client.get("/x", headers={"X-Request-Timeout-Ms": bad})
            assert (got.status_code, got.json()["slug"]) == (400, "bad-timeout")


async def test_nobody_there_is_a_503_and_nothing_was_done(leaks: Leaks):
    async with gateway_world(to("far", "http://127.0.0.1:1"), leaks=leaks) as world:
        client = world.client
        got = await client.post("/x", content=b"x")
        assert (got.status_code, got.json()["slug"]) == (503, "upstream-unavailable")
        assert got.headers["retry-after"] == "1"


async def test_an_address_that_is_down_is_passed_over_whatever_the_method(leaks: Leaks):
    far = Echo("far")
    async with (
        served(far, leaks) as there,
        gateway_world(to("far", "http://127.0.0.1:1", there.url), leaks=leaks) as world,
    ):
        client = world.client
        for number in range(6):
            got = await client.post("/x", content=f"{number}")
            assert got.json()["body"] == str(number)
    assert [seen.body for seen in far.seen] == [b"0", b"1", b"2", b"3", b"4", b"5"]


async def test_addresses_are_asked_in_turn(leaks: Leaks):
    one, two = Echo("one"), Echo("two")
    async with served(one, leaks) as a, served(two, leaks) as b, gateway_world(to("far", a.url, b.url)) as world:
        names = [(await world.client.get("/")).json()["from"] for _ in range(6)]
    assert names == ["one", "two"] * 3


class Dying:
    """A server that speaks HTTP by hand: `say` is all it answers before it hangs up. Counts what it was asked."""

    def __init__(self, say: bytes) -> None:
        self.say = say
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            writer.write(self.say)
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def dying(say: bytes) -> AsyncIterator[tuple[Dying, str]]:
    server = Dying(say)
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    async with listening:
        yield server, f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("POST", 1), ("PUT", 1), ("DELETE", 1), ("PATCH", 1)])
async def test_only_what_is_safe_is_asked_again_and_once(leaks: Leaks, method: str, times: int):
    async with dying(b"") as (server, url), gateway_world(to("far", url), leaks=leaks) as world:
        client = world.client
        got = await client.request(method, "/x", content=None if method in ("GET", "DELETE") else b"x")
        assert (got.status_code, got.json()["slug"]) == (502, "bad-gateway")
    assert server.asked == times


@pytest.mark.parametrize(
    "say", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b"HTTP/1.1 2"]
)
async def test_what_is_no_http_is_a_502(leaks: Leaks, say: bytes):
    async with dying(say) as (_, url), gateway_world(to("far", url), leaks=leaks) as world:
        client = world.client
        got = await client.post("/x", content=b"x")
        assert (got.status_code, got.json()["slug"]) == (502, "bad-gateway")


@pytest.mark.parametrize(
    "head", [b"content-length: 100\r\n\r\n1234567890", b"transfer-encoding: chunked\r\n\r\na\r\n1234567890\r\n"]
)
async def test_an_answer_that_breaks_off_never_looks_whole(leaks: Leaks, head: bytes):
    async with dying(b"HTTP/1.1 200 OK\r\n" + head) as (_, url), gateway_world(to("far", url), leaks=leaks) as world:
        client = world.client
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/x")
        assert (await client.get("/x", headers={"x-request-timeout-ms": "0"})).status_code == 400  # it lives


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_that_leaves_ends_the_work_there_too(leaks: Leaks, method: str):
    arrived, left = asyncio.Event(), asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await whole_body(receive)
        arrived.set()
        await until_gone(scope)
        left.set()

    far = Echo("far", answers={"/wait": wait})
    async with served(far, leaks) as there, gateway_world(to("far", there.url, answer_s=60.0), leaks=leaks) as world:
        _, writer = await world.at.connect()
        writer.write(f"{method} /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1".encode())
        async with asyncio.timeout(UNTIL_S):
            await arrived.wait()
            writer.close()
            await left.wait()


async def test_a_client_that_leaves_in_the_middle_of_its_body_ends_the_request_there(leaks: Leaks):
    begun, left = asyncio.Event(), asyncio.Event()

    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await until_gone(scope)
        left.set()

    far = Echo("far", answers={"/take": take})
    async with served(far, leaks) as there, gateway_world(to("far", there.url), leaks=leaks) as world:
        _, writer = await world.at.connect()
        writer.write(b"POST /take HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
        async with asyncio.timeout(UNTIL_S):
            await begun.wait()
            writer.close()
            await left.wait()


async def test_places_at_an_address_are_bounded(leaks: Leaks):
    gate = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()
        await answer(send, {})

    far = Echo("far", answers={"/wait": wait})
    async with (
        served(far, leaks) as there,
        gateway_world(to("far", there.url, connections_max=3), leaks=leaks) as world,
    ):
        client = world.client
        waiting = [asyncio.create_task(client.get("/wait")) for _ in range(3)]
        await until(lambda: len(there.server.server_state.tasks) == 3)
        refused = await client.get("/wait")
        assert (refused.status_code, refused.json()["slug"]) == (503, "upstream-unavailable")
        gate.set()
        assert {got.status_code for got in await asyncio.gather(*waiting)} == {200}


async def test_id_trace_and_priority_travel(leaks: Leaks):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with passed_on(leaks) as (far, client, _):
        sent = {"X-Request-Id": "mine", "traceparent": parent, "tracestate": "a=1", "X-Request-Priority": "pay"}
        got = await client.get("/v1/products", headers=sent)
        assert got.headers.get_list("x-request-id") == ["mine"]
        seen = far.seen[-1]
        assert seen.values("x-request-id") == ["mine"]
        (trace,) = seen.values("traceparent")
        version, trace_id, span_id, flags = trace.split("-")
        assert (version, trace_id, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
        assert span_id != "b7ad6b7169203331"
        assert seen.values("tracestate") == ["a=1"]
        assert seen.values("x-request-priority") == ["browse"], "a caller does not choose"

        for bad in ("00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff-" + parent[3:], parent + "-x", "junk"):
            await client.get("/x", headers={"traceparent": bad})
            (fresh,) = far.seen[-1].values("traceparent")
            assert fresh.split("-")[1] != "0af7651916cd43dd8448eb211c80319c"
        ids = {far.seen[-1].values("traceparent")[0].split("-")[1] for _ in range(5) if await client.get("/x")}
        assert len(ids) == 5
