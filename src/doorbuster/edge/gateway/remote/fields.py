"""Header lines on their way to another server and back: what belongs to one connection only stays behind.

What this hop knows better than the client (who it is, how long it waits, where the trace goes) is said anew.
"""

from __future__ import annotations

from collections.abc import Iterable

from doorbuster.edge.gateway.addresses import Networks, client_address, is_trusted, peer_of
from doorbuster.kernel.request_context import PRIORITY, RequestContext
from doorbuster.platform.http.raw import Headers, Scope

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
"""Of one connection (RFC 9110, 7.6.1)."""
_OURS = frozenset(
    (
        b"forwarded",
        b"host",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-real-ip",
        b"x-mirrored",
        b"x-request-id",
        b"x-request-priority",
        b"x-request-timeout-ms",
        b"traceparent",
        b"tracestate",
        b"expect",
    )
)
"""Said anew by this hop, or answered by it."""
UNTOUCHABLE = HOP_BY_HOP | _OURS | {b"content-length", b"authorization", b"cookie"}
"""What no plugin changes, and no `Connection: <name>` of a client takes away."""
_ANSWER_OURS = frozenset((b"x-request-id",))

Fields = list[tuple[str, str]]


def request_fields(scope: Scope, context: RequestContext, trusted: Networks) -> Fields:
    """Of a request that is passed on. Names with an underscore are left out: some servers read it as a hyphen."""
    named = _named_by_connection(scope["headers"])
    fields = [
        (name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
        for name, value in scope["headers"]
        if name not in HOP_BY_HOP and name not in _OURS and name not in named and b"_" not in name
    ]
    return [*fields, *_forwarded(scope, trusted), *context.fields(), (PRIORITY, context.priority.name.lower())]


def _forwarded(scope: Scope, trusted: Networks) -> Fields:
    """Where the request comes from: the way so far only if those who wrote it down are our own proxies."""
    peer = peer_of(scope)
    way = peer
    if trusted and is_trusted(peer, trusted):
        client = client_address(scope, trusted)
        way = peer if client == peer else f"{client}, {peer}"
    fields = [("X-Forwarded-For", way), ("X-Forwarded-Proto", _plain_scheme(scope["scheme"]))]
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) == 1:
        fields.append(("X-Forwarded-Host", hosts[0].decode("utf-8", "surrogateescape")))
    return fields


def _plain_scheme(scheme: str) -> str:
    return {"ws": "http", "wss": "https"}.get(scheme, scheme)


def answer_fields(raw: Iterable[tuple[bytes, bytes]], status: int, request_id: str) -> Headers:
    """Of an answer that is passed back."""
    lowered = [(name.lower(), value) for name, value in raw]
    named = _named_by_connection(lowered)
    dropped = HOP_BY_HOP | _ANSWER_OURS | named
    if status in (204, 304):
        dropped |= {b"content-length"}  # they have no body, and the server would wait for one
    return [*(field for field in lowered if field[0] not in dropped), (b"x-request-id", request_id.encode())]


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """What `Connection` says belongs to this connection only; it cannot say so of what is meant for everybody."""
    options: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            options.update(option.strip().lower() for option in value.split(b","))
    return frozenset(options - UNTOUCHABLE - {b"content-type", b"idempotency-key", b"cache-control"})
