"""The other sides, for real: an SMTP server and an HTTP server on this machine, with the moods of the world's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Any, Self, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword


@dataclass
class PostOffice:
    """An SMTP server. `mood` answers to each letter: what the server says, "hang" or "drop"."""

    mood: str = "250 OK"
    at_recipient: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    letters: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None
    _open: set[SMTP] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _session(self) -> SMTP:
        session = SMTP(self, loop=asyncio.get_running_loop(), **self.options)
        self._open.add(session)
        return session

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        assert self._server is not None
        self._server.close()
        for session in self._open:
            if session.transport is not None:
                session.transport.abort()
        await asyncio.sleep(0)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        if self.at_recipient:
            return self.at_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.mood == "hang":
            await asyncio.sleep(60)
        self.envelopes.append(envelope)
        self.letters.append(cast("EmailMessage", message_from_bytes(cast("bytes", envelope.content), policy=default)))
        if self.mood == "drop":
            server.transport.abort()
        return self.mood

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=True)


@dataclass
class Receiver:
    """An HTTP server that keeps what it gets. `answer` makes the response to a request."""

    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[web.Request], web.StreamResponse] = lambda _: web.Response()
    before: Callable[[], Any] | None = None
    port: int = 0
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None):
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append((request.path_qs, dict(request.headers), body))
        if self.before is not None:
            await self.before()
        return self.answer(request)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"
