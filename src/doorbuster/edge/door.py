"""The front door, plain ASGI: request id, token, hot routes, time limit, and one way to say no.

Everything behind it may raise ShopErrors; here, and nowhere else, they become answers. What is unexpected is logged
with its trace and answered without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import structlog

from doorbuster.edge.entering import PRINCIPAL, enter, principal_in
from doorbuster.edge.json_request import check_media_type
from doorbuster.edge.leaving import EndsWithClient
from doorbuster.edge.live_door import LiveDoor
from doorbuster.kernel.errors import OutcomeUnknown, ShopError, Unavailable
from doorbuster.kernel.request_context import RequestContext
from doorbuster.platform.http.problems import (
    BodyTooLarge,
    InternalError,
    MethodNotAllowed,
    RequestTooSlow,
    problem_of,
)
from doorbuster.platform.http.raw import (
    FIELDS,
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
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.retry import HEADER, attempt_of_header, trying

log = structlog.get_logger("door")

READS = frozenset(("GET", "HEAD"))


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
            context = enter(scope)
            answer.request_id = context.request_id
            self._identify(scope)
            hot = self._raw_route(context.path)
            if hot is None:
                await self._ask_api(scope, receive, answer, context)
            else:
                await self._ask_raw(*hot, scope, receive, send)
        except ClientGone:
            return
        except ShopError as error:
            answer.request_id = scope["request_id"]
            await answer.refuse(error)
        except Exception:
            log.exception("request failed", request_id=answer.request_id, method=scope["method"], path=scope["path"])
            await answer.refuse(InternalError())

    async def _ask_raw(self, route: RawRoute, parameter: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises ShopErrors, ClientGone."""
        if scope["method"] != route.method:
            raise MethodNotAllowed(route.method)
        check_media_type(scope[FIELDS].get(b"content-type"))
        body = await read_body(receive, self._body_bytes_max)
        if route.ends_with_client:
            with EndsWithClient(scope):
                await _answer_raw(route, parameter, scope, body, send)
        else:
            await _answer_raw(route, parameter, scope, body, send)

    def _identified(self, scope: Scope) -> None:
        """Who asks for a WebSocket, and under which id.

        Raises RepeatedHeader, BadTimeout, InvalidToken, ExpiredToken.
        """
        enter(scope)
        self._identify(scope)

    def _identify(self, scope: Scope) -> None:
        """Puts the principal into the scope, unless the gateway has done so. Raises InvalidToken, ExpiredToken."""
        if PRINCIPAL not in scope:
            scope[PRINCIPAL] = principal_in(scope[FIELDS], self._ring)

    def _raw_route(self, path: str) -> tuple[RawRoute, str] | None:
        for route in self._raw_routes:
            parameter = route.parameter_in(path)
            if parameter is not None:
                return route, parameter
        return None

    async def _ask_api(self, scope: Scope, receive: Receive, answer: _Answer, context: RequestContext) -> None:
        """A read ends with its client. Raises what the API does not answer itself."""
        if scope["method"] in READS:
            with EndsWithClient(scope):
                await self._ask_api_in_time(scope, receive, answer, context)
        else:
            await self._ask_api_in_time(scope, receive, answer, context)

    async def _ask_api_in_time(self, scope: Scope, receive: Receive, answer: _Answer, context: RequestContext) -> None:
        """A retry is known as one wherever it leads: what is asked on its behalf is not repeated."""
        structlog.contextvars.bind_contextvars(request_id=answer.request_id)
        tries = attempt_of_header(_header(scope, HEADER))
        with trying(tries) if tries > 1 else nullcontext():
            await self._ask_in_time(scope, receive, answer, context)

    async def _ask_in_time(self, scope: Scope, receive: Receive, answer: _Answer, context: RequestContext) -> None:
        """Says how far a request came that took too long."""
        body = _Body(receive, self._body_bytes_max)
        if scope["method"] == "HEAD":  # a GET whose body the server does not send
            scope = {**scope, "method": "GET", "head_only": True}
        limit_s = context.within(self._timeout_s * 2).left_s()
        scope["time_limit"] = limit = asyncio.timeout(limit_s)  # an event stream lifts it
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
            if scope["method"] in READS:
                raise Unavailable("the request took too long") from error
            raise OutcomeUnknown("the request took too long; ask again with the same key") from error


def _header(scope: Scope, wanted: bytes) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == wanted), None)


async def _answer_raw(route: RawRoute, parameter: str, scope: Scope, body: bytes, send: Send) -> None:
    status, content = await route.answer(scope, parameter, body)
    await respond(send, status, [*JSON_HEADERS, (b"x-request-id", scope["request_id"].encode())], content)


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
