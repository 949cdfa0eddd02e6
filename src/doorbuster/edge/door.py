"""The front door, plain ASGI: request id, token, hot routes, time limit, and one way to say no.

Everything behind it may raise ShopErrors; here, and nowhere else, they become answers. What is unexpected is logged
with its trace and answered without one.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import structlog

from doorbuster.edge.json_request import check_media_type
from doorbuster.edge.live_door import LiveDoor
from doorbuster.kernel.errors import OutcomeUnknown, ShopError, Unavailable
from doorbuster.platform.http.problems import (
    BodyTooLarge,
    InternalError,
    MethodNotAllowed,
    RepeatedHeader,
    RequestTooSlow,
    problem_of,
)
from doorbuster.platform.http.raw import (
    JSON_HEADERS,
    NO_SNIFFING,
    NO_STORE,
    ClientGone,
    Headers,
    Message,
    RawRoute,
    Receive,
    Scope,
    Send,
    read_body,
    respond,
)
from doorbuster.platform.http.tokens import InvalidToken, KeyRing
from doorbuster.platform.retry import HEADER, attempt_of_header, trying

log = structlog.get_logger("door")

_ONCE = frozenset(
    (
        b"authorization",
        b"content-type",
        b"doorbuster-admission",
        b"doorbuster-signature",
        b"idempotency-key",
        b"x-request-id",
    )
)
"""Headers that decide something: two of them are refused, because two readers could take different ones."""

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PROCESS = secrets.token_hex(4)
_numbers = count(1)


class Door:
    """The ASGI application that the server runs."""

    def __init__(
        self,
        api: Any,
        raw_routes: Sequence[RawRoute],
        ring: KeyRing,
        body_bytes_max: int,
        timeout_s: float,
        live: LiveDoor | None = None,
    ) -> None:
        self._api = api
        self._raw_routes = tuple(raw_routes)
        self._ring = ring
        self._body_bytes_max = body_bytes_max
        self._timeout_s = timeout_s
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if self._live is not None and scope["type"] == "websocket":
                await self._live(scope, receive, send, self._identified)
            return
        answer = _Answer(send)
        try:
            headers = _deciding_headers(scope)
            request_id = scope["request_id"] = answer.request_id = _request_id(headers)
            scope["principal"] = self._principal(headers)
            hot = self._raw_route(scope["path"])
            if hot is None:
                await self._ask_api(scope, receive, answer)
                return
            route, parameter = hot
            if scope["method"] != route.method:
                raise MethodNotAllowed(route.method)
            check_media_type(headers.get(b"content-type"))
            body = await read_body(receive, self._body_bytes_max)
            status, content = await route.answer(scope, parameter, body)
            await respond(send, status, [*JSON_HEADERS, (b"x-request-id", request_id.encode())], content)
        except ClientGone:
            return
        except ShopError as error:
            await answer.refuse(error)
        except Exception:
            log.exception("request failed", request_id=answer.request_id, method=scope["method"], path=scope["path"])
            await answer.refuse(InternalError())

    def _identified(self, scope: Scope) -> None:
        """Who asks for a WebSocket, and under which id. Raises RepeatedHeader, InvalidToken, ExpiredToken."""
        scope["request_id"] = _request_id({})  # also if the headers are no good
        headers = _deciding_headers(scope)
        scope["request_id"] = _request_id(headers)
        scope["principal"] = self._principal(headers)

    def _principal(self, headers: Mapping[bytes, bytes]) -> object:
        """Who asks; None if nobody says. A token that is no good is refused on every route."""
        value = headers.get(b"authorization")
        if value is None:
            return None
        if not value[:7].lower() == b"bearer ":
            raise InvalidToken("the Authorization header must be: Bearer <token>")
        return self._ring.verify(value[7:])

    def _raw_route(self, path: str) -> tuple[RawRoute, str] | None:
        for route in self._raw_routes:
            parameter = route.parameter_in(path)
            if parameter is not None:
                return route, parameter
        return None

    async def _ask_api(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Raises what the API does not answer itself, and says how far a request came that took too long."""
        structlog.contextvars.bind_contextvars(request_id=answer.request_id)
        if (tries := attempt_of_header(_header(scope, HEADER))) > 1:
            with trying(tries):
                await self._ask_in_time(scope, receive, answer)
        else:
            await self._ask_in_time(scope, receive, answer)

    async def _ask_in_time(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        body = _Body(receive, self._body_bytes_max)
        if scope["method"] == "HEAD":  # a GET whose body the server does not send
            scope = {**scope, "method": "GET", "head_only": True}
        scope["time_limit"] = limit = asyncio.timeout(self._timeout_s * 2)  # an event stream lifts it
        if self._live is not None:
            scope["live"] = self._live.live
        try:
            async with limit:
                await self._api(scope, body, answer)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if body.awaited:
                raise RequestTooSlow from error
            if scope["method"] == "GET":
                raise Unavailable("the request took too long") from error
            raise OutcomeUnknown("the request took too long; ask again with the same key") from error


def _deciding_headers(scope: Scope) -> dict[bytes, bytes]:
    """Raises RepeatedHeader."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in _ONCE:
            if name in found:
                raise RepeatedHeader(name=name.decode())
            found[name] = value
    return found


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


def _request_id(headers: Mapping[bytes, bytes]) -> str:
    """The caller's own if it is harmless, else a new one. It leads from an answer to the log."""
    own = headers.get(b"x-request-id")
    if own is not None and _GOOD_REQUEST_ID.fullmatch(own):
        return own.decode()
    return f"{_PROCESS}-{next(_numbers):x}"


class _Answer:
    """An answer under way: stamped with what every answer carries, and begun at most once."""

    __slots__ = ("_begun", "_send", "request_id")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False
        self.request_id = ""

    async def __call__(self, message: Message) -> None:
        if not self._begun:
            self._begun = True
            message["headers"] = self._stamped(message.get("headers", ()))
        await self._send(message)

    def _stamped(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Nothing may be stored: answers are private, or as of now."""
        own = [header for header in headers if header[0] != NO_STORE[0]]
        return [*own, NO_STORE, NO_SNIFFING, (b"x-request-id", self.request_id.encode())]

    async def refuse(self, error: ShopError) -> None:
        """Answers with a problem, unless another answer has begun: then it is too late."""
        if self._begun:
            return
        self.request_id = self.request_id or _request_id({})
        await respond(self, *problem_of(error, self.request_id))


class _Body:
    """Stops reading a body at `bytes_max`, whatever its Content-Length says, and notices when its sender is gone."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._bytes_max = bytes_max
        self._size = 0
        self.awaited = False

    async def __call__(self) -> Message:
        """Raises BodyTooLarge, ClientGone."""
        self.awaited = True
        message = await self._receive()
        self.awaited = False
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._size += len(message.get("body", b""))
        if self._size > self._bytes_max:
            raise BodyTooLarge(limit_bytes=self._bytes_max)
        return message
