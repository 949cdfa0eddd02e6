"""The front door for WebSockets: what is refused before a connection is open is an HTTP problem like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.live import Live, LiveRoute
from doorbuster.platform.http.problems import InternalError, RouteNotFound, problem_of
from doorbuster.platform.http.raw import NO_SNIFFING, Message, Receive, Scope, Send

log = structlog.get_logger("door")


class LiveDoor:
    """Finds the route, and answers what it refuses."""

    def __init__(self, live: Live, routes: Sequence[LiveRoute]) -> None:
        self.live = live
        self._routes = tuple(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, identify: Callable[[Scope], None]) -> None:
        """`identify` puts request id and principal into the scope; it may raise ShopErrors."""
        handshake = _Handshake(send)
        try:
            identify(scope)
            structlog.contextvars.bind_contextvars(request_id=scope["request_id"])
            route, parameter = self._route(scope["path"])
            await self.live.serve(route, parameter, scope, receive, handshake)
        except ShopError as error:
            await handshake.refuse(error, scope["request_id"])
        except Exception:
            log.exception("connection failed", request_id=scope["request_id"], path=scope["path"])
            await handshake.refuse(InternalError(), scope["request_id"])

    def _route(self, path: str) -> tuple[LiveRoute, str]:
        """Raises RouteNotFound."""
        for route in self._routes:
            parameter = route.parameter_in(path)
            if parameter is not None:
                return route, parameter
        raise RouteNotFound


class _Handshake:
    """Notices whether the connection was accepted: until then it can be refused."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False

    async def __call__(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def refuse(self, error: ShopError, request_id: str) -> None:
        if self._begun:
            return
        self._begun = True
        status, headers, body = problem_of(error, request_id)
        headers += [NO_SNIFFING, (b"x-request-id", request_id.encode()), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await self._send({"type": "websocket.http.response.body", "body": body})
