"""A small general keep-alive client over the same lanes: for verification, the demo and the bench.

async with Pool("http://127.0.0.1:8000") as pool:
    reply = await pool.request("GET", "/v1/sales/1")
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from .connection import Exchange, RawHeaders
from .errors import BadRequestError, Failure, NoAnswerError
from .lanes import LaneLimits, Lanes
from .target import Target, parse_target

T = TypeVar("T")
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PATH = re.compile(r"/[\x21-\x7e]*")


class Response(msgspec.Struct, frozen=True):
    """A complete reply. Header names are lower case; a repeated header keeps its last value."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self, kind: type[T]) -> T:
        """The body as `kind`. Raises msgspec.DecodeError (or its ValidationError) if it is not that."""
        return msgspec.json.decode(self.body, type=kind)

    @property
    def retry_after_s(self) -> float:
        """Seconds of Retry-After, 0.0 without one or with a date."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdecimal() else 0.0


class Pool:
    """At most `limits.connections` connections and `limits.waiting` queued requests; see `LaneLimits`."""

    def __init__(self, base_url: str, limits: LaneLimits | None = None) -> None:
        """Raises `BadUrlError`. Opens nothing yet."""
        self.target = parse_target(base_url)
        self._lanes = Lanes(self.target, limits or LaneLimits(), keep_headers=True)

    async def __aenter__(self) -> Self:
        await self._lanes.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._lanes.close()

    async def connect(self) -> None:
        """Opens one connection now. Raises `UnreachableError` at once; `request` would wait for one."""
        await self._lanes.warm(1)

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Response:
        """Sends one request and returns its reply, whatever the status.

        A GET that meets a connection the server was just closing is sent once more; nothing else is ever
        repeated. Cancelling drops the connection. Raises `NoAnswerError` (timeout, lost, queue full) and
        `BadRequestError`.
        """
        payload = encode_request(self.target, method, path, headers or {}, body)
        try:
            return await self._once(method, path, payload)
        except NoAnswerError as error:
            if method != "GET" or error.failure is not Failure.LOST:
                raise
        return await self._once(method, path, payload)

    async def _once(self, method: str, path: str, payload: bytes) -> Response:
        call = _Call(payload, asyncio.get_running_loop().create_future())
        self._lanes.submit(call)
        try:
            answer = await call.future
        except asyncio.CancelledError:
            self._lanes.withdraw(call)
            raise
        if isinstance(answer, Failure):
            raise NoAnswerError(method, path, answer)
        return answer


class _Call(Exchange):
    """An exchange that somebody awaits."""

    __slots__ = ("_payload", "future")

    def __init__(self, payload: bytes, future: asyncio.Future[Response | Failure]) -> None:
        super().__init__(time.monotonic())
        self._payload = payload
        self.future = future

    def payload(self) -> bytes:
        return self._payload

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:
        if not self.future.done():
            named = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in headers}
            self.future.set_result(Response(status, named, body))

    def on_failure(self, failure: Failure) -> None:
        if not self.future.done():
            self.future.set_result(failure)


def encode_request(target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The bytes of a request. Raises `BadRequestError` rather than let a value smuggle in a line break."""
    if method not in METHODS:
        raise BadRequestError("method", f"{method!r} is not one of {', '.join(sorted(METHODS))}")
    if not _PATH.fullmatch(path):
        raise BadRequestError("path", f"{path!r} must start with / and hold visible ASCII only")
    lines = [f"{method} {target.prefix}{path} HTTP/1.1", f"host: {target.host_header}"]
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in {
            "host",
            "content-length",
            "transfer-encoding",
        }:
            raise BadRequestError("header", f"{name!r} is not a name the caller may set")
        if not _HEADER_VALUE.fullmatch(value):
            raise BadRequestError("header", f"the value of {name} holds a control character")
        lines.append(f"{name}: {value}")
    if body or method != "GET":
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
