"""Plain ASGI for the hottest routes: what the framework would do, and no more.

A raw route registers its OpenAPI operation, so the document, the fuzzer and the reader see it like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from msgspec import Struct

from doorbuster.platform.http.problems import BodyTooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

NO_STORE = (b"cache-control", b"no-store")
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
CONTEXT, FIELDS = "context", "fields"
"""What the door puts into the scope: the request's `RequestContext`, and its headers that decide something."""
PLACE, FAILED = "place", "failed"
"""What the server's gate puts there: the place of this request among those under way. And what the application says
of its answer: that it was an error, so that its time is not taken for that of the work."""
CLIENT_GONE = "client_gone"
"""What an application puts there for the server: called once if the client leaves before its answer is whole."""

IDEMPOTENCY_KEY: Mapping[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "The same key and body get the same answer; with another body the key is refused.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
}
"""The header of every creating POST, as the document describes it."""

JSON_HEADERS: Headers = [(b"content-type", b"application/json"), NO_STORE, NO_SNIFFING]


def id_in_path(name: str) -> dict[str, Any]:
    """A parameter of a raw route's path, as the document describes it."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"}}


class ClientGone(Exception):
    """The client closed the connection before its request was complete. There is nobody to answer."""


class RawRoute(Struct, frozen=True):
    """`method prefix{parameter}suffix`, e.g. POST /v1/sales/{sale_id}/claims.

    `answer` gets the scope (with `principal` set by the door), the parameter's text and the body, and returns
    status and JSON. It may raise ShopErrors.
    """

    method: str
    prefix: str
    suffix: str
    parameter: str
    answer: Callable[[Scope, str, bytes], Awaitable[tuple[int, bytes]]]
    operation: Mapping[str, Any]
    schemas: Mapping[str, Any]
    ends_with_client: bool = False
    """Whether `answer` is cancelled when its client leaves. Only for what is whole or not at all wherever it is cut."""

    @property
    def path(self) -> str:
        return f"{self.prefix}{{{self.parameter}}}{self.suffix}"

    def parameter_in(self, path: str) -> str | None:
        """The parameter's text if `path` is one of this route, whatever the method."""
        if not (path.startswith(self.prefix) and path.endswith(self.suffix)):
            return None
        parameter = path[len(self.prefix) : len(path) - len(self.suffix)]
        return parameter if parameter and "/" not in parameter else None


def step_out(scope: Mapping[str, Any]) -> None:
    """For an answer without an end: it is under way for hours, and takes nobody's place among the requests."""
    place = scope.get(PLACE)
    if place is not None:
        place.step_out()


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value
    return None


async def read_body(receive: Receive, bytes_max: int) -> bytes:
    """The whole body. Raises BodyTooLarge, ClientGone."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        if len(body) > bytes_max:
            raise BodyTooLarge(limit_bytes=bytes_max)
        return body
    parts, size = [body], len(body)
    while message["type"] == "http.request" and message.get("more_body"):
        if size > bytes_max:
            raise BodyTooLarge(limit_bytes=bytes_max)
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if message["type"] == "http.disconnect":
        raise ClientGone
    if size > bytes_max:
        raise BodyTooLarge(limit_bytes=bytes_max)
    return b"".join(parts)


async def respond(send: Send, status: int, headers: Headers, body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})
