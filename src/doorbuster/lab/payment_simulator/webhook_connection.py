"""One keep-alive HTTP/1.1 connection that posts webhooks, one at a time."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

ANSWER_BYTES_MAX = 64 * 1024


class WebhookConnection(asyncio.Protocol):
    """Sends a request, waits for its status; the body of the answer is read and dropped."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._answer: asyncio.Future[int] | None = None
        self._status: int | None = None
        self._bytes_read = 0
        self.idle_since_s = 0.0
        self.reusable = True

    async def post(self, request: bytes) -> int:
        """The HTTP status of the answer.

        Raises:
            OSError: the connection was lost, or the answer was not HTTP or longer than ``ANSWER_BYTES_MAX``.
        """
        if self._transport is None or not self.reusable:
            raise ConnectionResetError("the connection is closed")
        self._parser = httptools.HttpResponseParser(self)
        self._status, self._bytes_read = None, 0
        self._answer = self._loop.create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            if not self._answer.done() or self._answer.cancelled():
                self.close()

    def close(self) -> None:
        """Close for good; a second close does nothing."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._bytes_read += len(data)
        if self._parser is None or self._bytes_read > ANSWER_BYTES_MAX:
            self._fail(ConnectionAbortedError("the answer is too long, or nobody asked for it"))
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(ConnectionAbortedError(f"the answer is not HTTP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if self._status is not None:  # an answer that ends with its connection
            self._settle(self._status)
        else:
            self._fail(ConnectionResetError(f"the receiver closed the connection: {exc}"))

    # callbacks of the parser

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code() if self._parser else 0
        self._status = status if status >= 200 else None  # 1xx announces the real answer

    def on_message_complete(self) -> None:
        if self._status is None or self._parser is None:
            return
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._settle(self._status)

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)

    def _fail(self, error: OSError) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self.close()
