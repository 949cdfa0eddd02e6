"""A small pooled HTTP/1.1 client for payment providers: keep-alive connections, one request on each at a time.

Measured against aiohttp with the same server: see docs/contexts/payments.md. It repeats nothing, follows no redirects
and knows no proxies; the adapters decide what is asked again. Answers are bounded in size.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import cast
from urllib.parse import urlsplit

import httptools

from doorbuster.kernel.request_context import outgoing_fields

ANSWER_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 32
IDLE_S_MAX = 15.0
"""Shorter than servers keep connections, so that a request rarely meets one that is just being closed."""


class NoAnswer(Exception):
    """The connection could not be made or broke before the whole answer was here; nobody knows what took effect."""


class AnswerTooLong(Exception):
    """More than ANSWER_BYTES_MAX."""


class HttpClient:
    """Requests to one base address (http or https, with an optional path). Used from the loop that it is first used in.

    At most `connections_max` requests are under way, the others wait in line; how long is the caller's business.
    """

    def __init__(self, base_url: str, connections_max: int = CONNECTIONS_MAX) -> None:
        parts = urlsplit(base_url)
        if parts.hostname is None:
            raise ValueError(f"no host in {base_url!r}")
        tls = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port or (443 if tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._authority = parts.netloc.rpartition("@")[2]
        self._tls = ssl.create_default_context() if tls else None
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._room = connections_max
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def request(
        self, method: str, target: str, headers: str = "", body: bytes | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of the answer. `headers` are whole lines, each with its CRLF; the caller made them.

        Raises NoAnswer, AnswerTooLong.
        """
        length = "" if body is None else f"content-length: {len(body)}\r\n"
        traced = "".join(f"{name}: {value}\r\n" for name, value in outgoing_fields())
        head = f"{method} {self._prefix}{target} HTTP/1.1\r\nhost: {self._authority}\r\n{headers}{traced}{length}\r\n"
        request = head.encode("ascii") + (body or b"")
        await self._enter()
        try:
            connection = self._take_idle() or await self._connect()
            self._in_use.add(connection)
            try:
                answer = await connection.ask(request)
            finally:
                self._in_use.discard(connection)
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    connection.close()
            return answer
        finally:
            self._leave()

    async def close(self) -> None:
        """Closes the connections, also those in use; may be used again afterwards."""
        for connection in (*self._idle, *self._in_use):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the transports close in the loop's next round

    async def _enter(self) -> None:
        if self._room > 0 and not self._waiting:
            self._room -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # whoever leaves hands over the place
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._room += 1

    def _take_idle(self) -> Connection | None:
        oldest_s = asyncio.get_running_loop().time() - IDLE_S_MAX
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.idle_since_s >= oldest_s:
                return connection
            connection.close()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        except OSError as error:  # ssl.SSLError and socket.gaierror are OSErrors
            raise NoAnswer(str(error)) from error
        return connection


class Connection(asyncio.Protocol):
    """One connection; the answer's headers are read by the parser and not kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._parts: list[bytes] = []
        self._bytes_read = 0
        self._status = 0
        self._complete = self._keep_alive = False
        self.reusable = True
        self.idle_since_s = 0.0

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a request and waits for its answer; if cancelled, the connection is lost.

        Raises NoAnswer, AnswerTooLong.
        """
        if self._transport is None or not self.reusable:
            raise NoAnswer("the connection is closed")
        self.reusable = False  # until the whole answer is here
        self._parser = httptools.HttpResponseParser(self)
        self._parts, self._bytes_read, self._complete = [], 0, False
        self._answer = self._loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """A second close does nothing."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._answer is None or self._answer.done():
            return self._fail(NoAnswer("bytes that nobody asked for"))
        self._bytes_read += len(data)
        if self._bytes_read > ANSWER_BYTES_MAX:
            return self._fail(AnswerTooLong(f"more than {ANSWER_BYTES_MAX} bytes"))
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            return self._fail(NoAnswer(f"not HTTP: {error}"))
        if self._complete:
            self._settle()
        return None

    def eof_received(self) -> None:
        """The transport closes itself; what it means is known when the connection is lost."""

    def connection_lost(self, exc: Exception | None) -> None:
        # Without a length and a chunked coding the end of the connection would be the end of the answer. No provider
        # of ours answers so; a cut-off answer must not look whole.
        self._fail(NoAnswer(f"the connection was lost: {exc}"))

    # callbacks of the parser

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._parser is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # the real answer is still to come
            return
        self._status, self._complete = status, True
        self._keep_alive = self._parser.should_keep_alive()

    def _settle(self) -> None:
        if self._answer is not None and not self._answer.done():
            self.reusable = self._keep_alive
            self.idle_since_s = self._loop.time()
            self._answer.set_result((self._status, b"".join(self._parts)))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
