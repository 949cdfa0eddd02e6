"""A real HTTP server that plays the merchant's end: it records every webhook and answers as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, cast

import httptools
import msgspec
from msgspec import Struct

from doorbuster.lab.payment_simulator.messages import Event
from doorbuster.lab.payment_simulator.signatures import HEADER_NAME

RECEIVED_MAX = 1_000_000


class Received(Struct, frozen=True):
    """One webhook as it arrived; ``at_s`` is monotonic."""

    at_s: float
    signature: str
    body: bytes

    @property
    def event(self) -> Event:
        """The body, decoded.

        Raises:
            msgspec.ValidationError: it has not the shape of an event.
        """
        return msgspec.json.decode(self.body, type=Event)


Answer = Callable[[Received], int]


class WebhookReceiver:
    """Listens on loopback while entered. ``answer`` chooses the status, ``delay_s`` the time to it."""

    def __init__(self, answer: Answer | None = None, *, delay_s: float = 0.0, port: int = 0) -> None:
        self.answer: Answer = answer or (lambda _: 200)
        self.delay_s = delay_s
        self.received: list[Received] = []
        self.open_now = 0
        self.open_most = 0
        self.lines: set[asyncio.Transport] = set()
        self._port = port
        self._server: asyncio.Server | None = None
        self._arrived = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for transport in self.lines:
            transport.abort()

    @property
    def url(self) -> str:
        """Where webhooks are to be sent."""
        return f"http://127.0.0.1:{self._port}/v1/payments/webhooks/simulator"

    async def wait_for(self, condition: Callable[[list[Received]], bool], seconds: float = 10.0) -> None:
        """Return when ``condition`` holds for what has arrived.

        Raises:
            TimeoutError: it does not within ``seconds``.
        """
        async with asyncio.timeout(seconds):
            while not condition(self.received):
                self._arrived.clear()
                await self._arrived.wait()

    async def take(self, signature: str, body: bytes) -> int:
        """Record a webhook and choose its answer; called by the connections."""
        webhook = Received(time.monotonic(), signature, body)
        if len(self.received) < RECEIVED_MAX:
            self.received.append(webhook)
        self._arrived.set()
        self.open_now += 1
        self.open_most = max(self.open_most, self.open_now)
        try:
            await asyncio.sleep(self.delay_s)
            return self.answer(webhook)
        finally:
            self.open_now -= 1


class _Line(asyncio.Protocol):
    """One connection from the provider; requests come one after another."""

    def __init__(self, receiver: WebhookReceiver) -> None:
        self._receiver = receiver
        self._parser = httptools.HttpRequestParser(self)
        self._signature, self._body = "", b""
        self._answering: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._receiver.lines.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        if self._transport is not None:
            self._receiver.lines.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._signature, self._body = "", b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == HEADER_NAME.lower().encode():
            self._signature = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        self._answering = asyncio.get_running_loop().create_task(self._reply())

    async def _reply(self) -> None:
        status = await self._receiver.take(self._signature, self._body)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"HTTP/1.1 %d Answered\r\nContent-Length: 2\r\n\r\n{}" % status)
