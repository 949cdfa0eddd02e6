"""One request and its answer on their way through the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from doorbuster.edge.gateway.addresses import Networks, client_address
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal
from doorbuster.kernel.request_context import RequestContext
from doorbuster.platform.http.problems import problem_of
from doorbuster.platform.http.raw import FAILED, NO_SNIFFING, Headers, Message, Receive, Scope, Send

_START = {"http": "http.response.start", "websocket": "websocket.http.response.start"}
_BODY = {"http": "http.response.body", "websocket": "websocket.http.response.body"}


class Exchange:
    """`send` and `receive` may be replaced by plugins that look at what passes; `answer` is the way out."""

    __slots__ = (
        "_send",
        "_trusted",
        "answer_headers",
        "answer_removed",
        "context",
        "receive",
        "route",
        "scope",
        "send",
        "status",
        "upstream",
    )

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, context: RequestContext, route: str, trusted: Networks
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send: Send = self.answer
        self.context = context
        self.route = route
        self.upstream = ""
        """Chosen by a canary; empty: by the weights of the route."""
        self.status = 0
        """0 until the answer begins; 101 for a WebSocket that was accepted."""
        self.answer_headers: Headers = []
        """Added to the answer, whoever gives it."""
        self.answer_removed: set[bytes] = set()
        self._send = send
        self._trusted = trusted

    @property
    def is_http(self) -> bool:
        return self.scope["type"] == "http"

    @property
    def principal(self) -> Principal | None:
        """Who asks, as far as an authentication plugin has looked."""
        return self.scope.get("principal")

    @property
    def address(self) -> str:
        """Of the client, past our own proxies."""
        return client_address(self.scope, self._trusted)

    def over(self) -> None:
        """Lets go of itself: what refers to itself waits for the collector, and half of a request's cost would be
        collecting."""
        self.send = self._send
        if self.status >= 400:
            self.scope[FAILED] = True

    async def answer(self, message: Message) -> None:
        if not self.status:
            self.status = int(message.get("status", 101))
            if self.answer_headers or self.answer_removed:
                kept = message.get("headers", ())
                if self.answer_removed:
                    kept = [field for field in kept if field[0] not in self.answer_removed]
                message["headers"] = [*kept, *self.answer_headers]
        await self._send(message)

    async def refuse(self, error: ShopError) -> None:
        """Answers with a problem, unless another answer has begun: then it is too late."""
        if self.status:
            return
        status, headers, body = problem_of(error, self.context.request_id)
        length = (b"content-length", b"%d" % len(body))
        headers += [NO_SNIFFING, (b"x-request-id", self.context.request_id.encode()), length]
        kind: str = self.scope["type"]
        await self.answer({"type": _START[kind], "status": status, "headers": headers})
        await self._send({"type": _BODY[kind], "body": body})


Handler = Callable[[Exchange], Awaitable[None]]
