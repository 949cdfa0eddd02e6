"""One HTTP exchange over ASGI: a bounded request in, a response or a dead line out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from doorbuster.lab.payment_simulator.errors import BodyTooLargeError, BodyTooSlowError, MalformedRequestError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

BODY_BYTES_MAX = 64 * 1024
BODY_SECONDS_MAX = 10.0
HANG_UP = "hang_up"  # the key under which the server puts the transport's close into the scope's state


class Request(msgspec.Struct, frozen=True):
    """A request whose body has been read whole."""

    method: str
    path: str
    query: str
    content_type: str
    body: bytes
    authorization: str = ""
    idempotency_key: str = ""


class Response(msgspec.Struct, frozen=True):
    """An answer; ``headers`` come on top of type and length."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: Headers = ()


async def read_request(scope: Scope, receive: Receive) -> Request:
    """Read the whole request.

    Raises:
        BodyTooLargeError: more than ``BODY_BYTES_MAX`` bytes announced or sent.
        BodyTooSlowError: not complete within ``BODY_SECONDS_MAX``.
        MalformedRequestError: the client went away in the middle.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > BODY_BYTES_MAX:
        raise BodyTooLargeError(BODY_BYTES_MAX)
    return Request(
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        content_type=headers.get(b"content-type", b"").decode("latin-1"),
        body=await _read_body(receive),
        authorization=headers.get(b"authorization", b"").decode("latin-1"),
        idempotency_key=headers.get(b"idempotency-key", b"").decode("latin-1"),
    )


async def _read_body(receive: Receive) -> bytes:
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _collect_body(receive)
    except TimeoutError as error:
        raise BodyTooSlowError(BODY_SECONDS_MAX) from error


async def _collect_body(receive: Receive) -> bytes:
    body = b""
    while True:  # bounded by BODY_BYTES_MAX and, around it, by BODY_SECONDS_MAX
        message = await receive()
        if message["type"] == "http.disconnect":
            raise MalformedRequestError("the client went away")
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLargeError(BODY_BYTES_MAX)
        if not message.get("more_body", False):
            return body


async def send_response(send: Send, response: Response) -> None:
    """Write the answer."""
    headers = [
        (b"content-type", response.content_type),
        (b"content-length", str(len(response.body)).encode()),
        (b"cache-control", b"no-store"),
        *response.headers,
    ]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": response.body})


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Close the connection without a byte of an answer, and wait until it is closed."""
    scope["state"][HANG_UP]()
    while (await receive())["type"] != "http.disconnect":  # ends when the transport reports its close
        pass


def json_response(status: int, value: object) -> Response:
    """``value`` as JSON."""
    return Response(status, msgspec.json.encode(value))
