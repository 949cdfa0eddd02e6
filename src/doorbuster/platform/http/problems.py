"""Errors on the wire: RFC 9457 problem details. The one place where a kind of error becomes a status."""

from __future__ import annotations

from typing import Any

import msgspec

from doorbuster.kernel.errors import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    ShopError,
    TooLarge,
    TooMany,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from doorbuster.platform.limits.errors import RateLimited

CONTENT_TYPE = "application/problem+json"


class MalformedJson(Invalid):
    """JSON that ends too early, nests too deep, is followed by something else, or is not UTF-8."""

    slug = "malformed-json"
    title = "The body is not valid JSON in UTF-8"


class InvalidBody(Invalid):
    """A field is missing, unknown, of another type, or out of its bounds; `detail` says which."""

    slug = "invalid-body"
    title = "The body does not fit the schema of this request"


class InvalidParameter(Invalid):
    """A parameter in the path or the query is of another type or out of its bounds; `detail` says which."""

    slug = "invalid-parameter"
    title = "A parameter does not fit the schema of this request"


class UnsupportedMediaType(Invalid):
    """The Content-Type names something else than application/json in UTF-8. Without one, JSON is assumed."""

    slug = "unsupported-media-type"
    title = "The body must be application/json in UTF-8"


class RepeatedHeader(Invalid):
    """A header that may be there once is there twice, and two readers could disagree which one counts."""

    slug = "repeated-header"
    title = "This header may be there only once"


class MalformedHttp(Invalid):
    """What arrived is not HTTP/1.1. The connection is closed."""

    slug = "malformed-http"
    title = "This is not a valid HTTP request"


class RequestTooSlow(Invalid):
    """The body did not arrive in time. Nothing was done."""

    slug = "request-too-slow"
    title = "The request did not arrive in time"


class MethodNotAllowed(Invalid):
    """The address exists, but not for this method; the header Allow names those that it takes."""

    slug = "method-not-allowed"
    title = "This address does not take this method"

    def __init__(self, allow: str) -> None:
        super().__init__(f"this address takes {allow}", allow=allow)
        self.allow = allow


class BodyTooLarge(TooLarge):
    """`limit_bytes` is how many the address takes."""

    slug = "body-too-large"
    title = "The body is larger than this server accepts"


class HeadTooLarge(TooLarge):
    """Request line and headers together go beyond what the server reads. The connection is closed."""

    slug = "head-too-large"
    title = "The headers are larger than this server accepts"


class RouteNotFound(NotFound):
    """No address of this API looks like this one."""

    slug = "route-not-found"
    title = "There is no such address"


class UpgradeRequired(Invalid):
    """The address speaks WebSocket, and this request does not ask for that. docs/live.md says how to speak it."""

    slug = "upgrade-required"
    title = "This address is for WebSockets"


class BadTimeout(Invalid):
    """X-Request-Timeout-Ms is how many milliseconds the caller still waits, from 1 to 9999999."""

    slug = "bad-timeout"
    title = "This is not a time to wait"


class AmbiguousPath(Invalid):
    """The path holds dot segments, empty segments, backslashes, or an encoded slash or dot: the gateway and a server
    behind it could read it as two different addresses."""

    slug = "ambiguous-path"
    title = "This path could mean more than one address"


class BadGateway(ShopError):
    """A server behind the gateway broke off or answered what is not HTTP. Whether the request took effect there is
    not known; one that carries an Idempotency-Key may be sent again with it."""

    slug = "bad-gateway"
    title = "A server behind this address did not answer properly"


class GatewayTimeout(ShopError):
    """A server behind the gateway did not answer in time. Whether the request took effect there is not known; one
    that carries an Idempotency-Key may be sent again with it."""

    slug = "gateway-timeout"
    title = "A server behind this address did not answer in time"


class UpstreamUnavailable(Unavailable):
    """No server behind the gateway can be reached for this address. Nothing was done."""

    slug = "upstream-unavailable"
    title = "No server behind this address can be reached"


class ConnectionsFull(Unavailable):
    """The server has as many connections as it may have. The connection is closed; nothing was done."""

    slug = "connections-full"
    title = "The server has too many connections"


class InternalError(ShopError):
    """Anything unexpected. The log has the trace under the same request id; the caller never sees it."""

    slug = "internal-error"
    title = "The server failed to answer this request"


# The first kind that fits decides.
_STATUS: tuple[tuple[type[ShopError], int], ...] = (
    (MethodNotAllowed, 405),
    (RequestTooSlow, 408),
    (UnsupportedMediaType, 415),
    (HeadTooLarge, 431),
    (UpgradeRequired, 426),
    (Invalid, 400),
    (Unauthenticated, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (TooLarge, 413),
    (Unprocessable, 422),
    (TooMany, 429),
    (BadGateway, 502),
    (Busy, 503),
    (GatewayTimeout, 504),
)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `slug` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    slug: str
    detail: str
    request_id: str = ""


def status_of(error: type[ShopError]) -> int:
    return next((status for kind, status in _STATUS if issubclass(error, kind)), 500)


def problem_of(error: ShopError, request_id: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body."""
    status = status_of(type(error))
    document: dict[str, Any] = {
        **{name: str(value) for name, value in error.extra.items()},
        "type": f"/problems/{error.slug}",
        "title": error.title,
        "status": status,
        "slug": error.slug,
        "detail": error.detail,
        "request_id": request_id,
    }
    headers = [(b"content-type", CONTENT_TYPE.encode()), (b"cache-control", b"no-store")]
    if isinstance(error, Busy):
        headers.append((b"retry-after", str(error.retry_after_s).encode()))
    if isinstance(error, RateLimited):
        headers += error.headers
    if status == 426:
        headers.append((b"upgrade", b"websocket"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    return status, headers, msgspec.json.encode(document)
