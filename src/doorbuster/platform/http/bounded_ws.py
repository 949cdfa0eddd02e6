"""A WebSocket connection with bounds: uvicorn's own waits for ever in places, and keeps any number of messages.

No compression: messages are small, and a window for each connection would cost memory (some 64 KiB) and processor
time that thousands of mostly silent connections do not earn back.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from doorbuster.platform.http.problems import MalformedHttp, problem_of

MESSAGE_BYTES_MAX = 64 * 1024
"""A longer message closes the connection with 1009."""
WAITING_MAX = 256
"""Messages that have arrived and were not taken; more close the connection with 1008."""
FRAGMENTS_MAX = 64
"""Frames that one message may come in; more close the connection with 1008."""
PING_EVERY_S, PONG_WITHIN_S = 30.0, 20.0
STALLED_S = 15.0
"""A client that takes nothing of what is sent for so long is cut off, and one that does not answer a close."""

POLICY = 1008


class BoundedWebSocket(WebSocketsSansIOProtocol):
    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._stalled: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self._refuse()  # uvicorn would wait for ever

    def _refuse(self) -> None:
        if self.transport.is_closing():
            return
        self.handshake_initiated = self.handshake_complete = self.close_sent = True
        status, headers, body = problem_of(MalformedHttp("not a WebSocket handshake"), secrets.token_hex(8))
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        self.transport.close()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) >= FRAGMENTS_MAX:
            self._violated("too many fragments")
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.queue.qsize() >= WAITING_MAX:
            self._violated("too many messages at once")
        else:
            super().send_receive_event_to_app()

    def _violated(self, reason: str) -> None:
        self.frames = []
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.fail(POLICY, reason)
        self.handle_parser_exception()
        self.transport.close()
        self._cut_off_later()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def resume_writing(self) -> None:
        if not self.close_sent:
            self._no_longer_stalled()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._no_longer_stalled()
        super().connection_lost(exc)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._cut_off_later()

    def shutdown(self) -> None:
        super().shutdown()
        self._cut_off_later()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self._cut_off_later()
            self.writable.set()  # a few bytes, also to a client that reads slowly; nothing comes behind them
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # refused, and that is an answer

    def _cut_off_later(self) -> None:
        """A transport that closes waits for its client to take the rest."""
        if self._stalled is None:
            self._stalled = self.loop.call_later(STALLED_S, self.transport.abort)

    def _no_longer_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
