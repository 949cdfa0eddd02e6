"""The plain keep-alive client."""

from __future__ import annotations

import asyncio

import pytest

from doorbuster.lab.stampede import BadRequestError, Failure, LaneLimits, NoAnswerError, Pool
from lab.stampede_shop import SALE, Shop


async def test_requests_share_one_connection_and_carry_headers_and_body():
    with Shop() as shop:
        async with Pool(shop.url) as pool:
            for _ in range(3):
                reply = await pool.request("POST", "/echo", {"X-Thing": "1"}, b"hello")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    echoed = reply.json(dict[str, object])
    assert (echoed["method"], echoed["body"]) == ("POST", "hello")
    assert shop.connections_opened == 1


async def test_at_most_so_many_connections_and_the_rest_waits_its_turn():
    with Shop() as shop:
        async with Pool(shop.url, LaneLimits(connections=3)) as pool:
            path = f"/v1/sales/{SALE}"
            replies = await asyncio.gather(*(pool.request("GET", path) for _ in range(50)))
    assert [reply.status for reply in replies] == [200] * 50
    assert shop.connections_opened <= 3


async def test_a_request_beyond_the_queue_is_refused_at_once():
    limits = LaneLimits(connections=1, waiting=1, timeout_s=0.2)
    with Shop() as shop:
        async with Pool(shop.url, limits) as pool:
            await pool.connect()
            calls = [pool.request("GET", path) for path in ("/silence", "/echo", "/echo")]
            first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, NoAnswerError) and first.failure is Failure.TIMEOUT and first.failure.sent
    assert not isinstance(second, BaseException) and second.status == 200
    assert isinstance(third, NoAnswerError) and third.failure is Failure.QUEUE_FULL and not third.failure.sent


async def test_only_a_get_is_sent_again_when_the_connection_goes():
    with Shop() as shop:
        async with Pool(shop.url) as pool:
            for method, connections in (("POST", 1), ("GET", 3)):
                with pytest.raises(NoAnswerError) as raised:
                    await pool.request(method, "/hang-up")
                assert raised.value.failure is Failure.LOST
                assert shop.connections_opened == connections
            assert (await pool.request("GET", "/echo")).status == 200


async def test_a_cancelled_request_does_not_give_its_late_reply_to_the_next():
    with Shop() as shop:
        async with Pool(shop.url, LaneLimits(connections=1)) as pool:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await pool.request("GET", "/silence")
            assert (await pool.request("GET", "/echo")).status == 200
    assert shop.connections_opened == 2


async def one_answer_server(raw: bytes) -> tuple[asyncio.Server, str]:
    """Answers every request with the same bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Failure.GARBLED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * 2, Failure.GARBLED),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000, Failure.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort", Failure.TIMEOUT),
    ],
)
async def test_a_reply_that_cannot_be_trusted_is_no_answer(raw: bytes, failure: Failure):
    server, url = await one_answer_server(raw)
    async with server, Pool(url, LaneLimits(reply_bytes_max=4096, timeout_s=0.2)) as pool:
        with pytest.raises(NoAnswerError) as raised:
            await pool.request("POST", "/")
    assert raised.value.failure is failure


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ],
)
async def test_interim_chunked_and_old_replies_are_understood(raw: bytes):
    server, url = await one_answer_server(raw)
    async with server, Pool(url) as pool:
        reply = await pool.request("GET", "/")
    assert (reply.status, reply.body) == (200, b"hi")


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("HEAD", "/", {}),
        ("GET", "no-slash", {}),
        ("GET", "/a b", {}),
        ("GET", "/", {"x": "1\r\ny: 2"}),
        ("GET", "/", {"x y": "1"}),
        ("POST", "/", {"Content-Length": "7"}),
    ],
)
async def test_a_request_that_would_break_the_wire_is_refused(method: str, path: str, headers: dict[str, str]):
    async with Pool("http://127.0.0.1:9") as pool:
        with pytest.raises(BadRequestError):
            await pool.request(method, path, headers)
