"""A provider hears which request a call belongs to."""

from __future__ import annotations

import asyncio

from doorbuster.contexts.payments.http_client import HttpClient
from doorbuster.kernel.request_context import RequestContext, working_on


async def test_id_and_trace_of_the_request_go_along():
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        client = HttpClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert (await client.request("GET", "/")) == (200, b"{}")
        context = RequestContext("mine", "POST", "/v1/x", 1, 1)
        working_on(context)
        await client.request("GET", "/")
        working_on(None)
        await client.close()
    assert b"traceparent" not in heads[0]
    assert b"\r\nx-request-id: mine\r\n" in heads[1]
    assert f"\r\ntraceparent: {context.traceparent}\r\n".encode() in heads[1]
