"""A server that stores nothing: every claim is answered 201 with a new order id. To calibrate the generator.

Run in its own process: `python -m doorbuster.lab.stampede.sink` listens on a free port of 127.0.0.1, writes
the port as a line, and ends when its standard input is closed, so that it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import cast

import httptools
import uvloop

HOST = "127.0.0.1"
HEAD = b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: "
REST_OF_CLAIM = (
    b'"sale_id":"1","quantity":1,"price":{"amount":1990,"currency":"CNY"},'
    b'"total":{"amount":1990,"currency":"CNY"},"pay_by":"2026-11-21T02:15:00.000Z","state":"placing"'
)
_numbers = itertools.count(1)


class Sink(asyncio.Protocol):
    """One connection; reads requests and answers each with a claim's 201."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def on_message_complete(self) -> None:
        body = b'{"order_id":"%d",%s}' % (next(_numbers), REST_OF_CLAIM)
        self._transport.write(b"%s%d\r\n\r\n%s" % (HEAD, len(body), body))


async def serve() -> None:
    """Serves until standard input ends."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Sink, HOST, 0, backlog=4096) as server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(serve())
