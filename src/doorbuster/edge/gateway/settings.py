"""The whole configuration of the gateway: plain values, checked for form here and for sense by `compiling`."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from doorbuster.kernel.principal import Role

LOCAL = "local"
"""The name of the shop in this process among the upstreams."""

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z")]
FieldName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,63}\Z")]
FieldValue = Annotated[str, Meta(pattern=r"^[ -~]{0,1024}\Z")]
PathPattern = Annotated[str, Meta(pattern=r"^/[!-~]{0,511}\Z")]
Url = Annotated[str, Meta(pattern=r"^https?://[!-~]{1,500}\Z")]
Seconds = Annotated[float, Meta(gt=0, le=3600)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1, le=1024 * 1024 * 1024)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
PriorityName = Literal["pay", "claim", "browse", "analytics"]


class Upstream(Struct, frozen=True, forbid_unknown_fields=True):
    """Servers that answer for one another: asked in turn. Only what is named here is ever connected to."""

    name: Name
    urls: Annotated[tuple[Url, ...], Meta(min_length=1, max_length=64)]
    """Base addresses; a path in one goes before the request's own."""
    connect_s: Seconds = 1.0
    answer_s: Seconds = 5.0
    """From the request to the head of its answer, if the request's own deadline is not sooner."""
    stalled_s: Seconds = 15.0
    """Between two parts of an answer. Event streams have four times as long."""
    body_bytes_max: Bytes = 1024 * 1024
    """Of a request."""
    connections_max: Count = 256
    """Requests under way to each address at the same time; one more is refused with 503."""


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    upstream: Name
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1


class HeaderMatch(Struct, frozen=True, forbid_unknown_fields=True):
    name: FieldName
    value: FieldValue | None = None
    """None: any value will do."""


class Authentication(Struct, frozen=True, forbid_unknown_fields=True, tag="authentication"):
    """A token that is no good is refused; without a token, what `required` says. `roles` empty: any."""

    required: bool = False
    roles: tuple[Role, ...] = ()


class RateLimit(Struct, frozen=True, forbid_unknown_fields=True, tag="rate-limit"):
    """Asks the limiter of this name: 429 with `Retry-After` when it says no."""

    limiter: Name
    by: Literal["address", "user", "route", "path"] = "address"
    """`user` needs an authentication before it; who has no token goes by address. `path` is for a limiter of hot
    values: the product that everybody wants has a path of its own."""
    cost: Annotated[int, Meta(ge=1, le=10_000)] = 1


class Shedding(Struct, frozen=True, forbid_unknown_fields=True, tag="shedding"):
    """Asks the process's shedder whether there is room for a request of this priority."""


class RequestLog(Struct, frozen=True, forbid_unknown_fields=True, tag="request-log"):
    """One line per request, for this share of them; always for answers of 500 and above, and slow ones."""

    percent: Percent = 1.0
    slow_s: Seconds = 1.0


class SetHeader(Struct, frozen=True, forbid_unknown_fields=True):
    name: FieldName
    value: FieldValue


class HeaderTransform(Struct, frozen=True, forbid_unknown_fields=True, tag="header-transform"):
    """Removes, then sets. Headers that frame or identify a request cannot be touched."""

    request_remove: tuple[FieldName, ...] = ()
    request_set: tuple[SetHeader, ...] = ()
    answer_remove: tuple[FieldName, ...] = ()
    answer_set: tuple[SetHeader, ...] = ()


class Canary(Struct, frozen=True, forbid_unknown_fields=True, tag="canary"):
    """Sends some to another upstream: those with the header, and `percent` of the rest."""

    upstream: Name
    percent: Percent = 0.0
    by: Literal["user", "address", "request"] = "user"
    """The same user or address always goes the same way; `request` draws anew each time."""
    header: HeaderMatch | None = None
    salt: Annotated[str, Meta(max_length=64)] = ""
    """Another salt draws another sample."""


class ResponseCache(Struct, frozen=True, forbid_unknown_fields=True, tag="response-cache"):
    """Keeps answers of 200 to GETs without token and cookie. What is longest unused goes first at the bounds."""

    ttl_s: Seconds
    entries_max: Count = 1_000
    bytes_max: Bytes = 16 * 1024 * 1024
    entry_bytes_max: Bytes = 256 * 1024
    vary: Annotated[tuple[FieldName, ...], Meta(max_length=8)] = ("accept", "accept-encoding", "accept-language")
    """Request headers that make another answer. One that varies by others is not kept."""


class Mirror(Struct, frozen=True, forbid_unknown_fields=True, tag="mirror"):
    """Sends a copy to another upstream when the answer is out, and throws away what that says."""

    upstream: Name
    percent: Percent = 100.0
    methods: tuple[Method, ...] = ("GET",)
    """A copy of a change is a change: only for a candidate with rows of its own."""
    in_flight_max: Annotated[int, Meta(ge=1, le=1_000)] = 32
    """Copies under way; beyond, requests are not copied."""
    body_bytes_max: Bytes = 64 * 1024
    """Requests with longer bodies are not copied."""


Plugin = Authentication | RateLimit | Shedding | RequestLog | HeaderTransform | Canary | ResponseCache | Mirror


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """What goes where. `path` has whole segments: text, `{name}` for any one, and `**` at the end for any number."""

    name: Name
    path: PathPattern
    methods: tuple[Method, ...] = ()
    """None: all. A WebSocket counts as GET."""
    headers: Annotated[tuple[HeaderMatch, ...], Meta(max_length=8)] = ()
    """All of them."""
    to: Annotated[tuple[Share, ...], Meta(min_length=1, max_length=16)] = (Share(LOCAL),)
    plugins: Annotated[tuple[Plugin, ...], Meta(max_length=16)] = ()
    """In order, after those for all routes."""
    priority: PriorityName | None = None
    """None: as the shop's own addresses have it."""


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The first route that fits counts; none: 404. Out of the box everything goes to the shop in this process."""

    routes: Annotated[tuple[Route, ...], Meta(min_length=1, max_length=256)] = (Route("everything", "/**"),)
    upstreams: Annotated[tuple[Upstream, ...], Meta(max_length=64)] = ()
    plugins: Annotated[tuple[Plugin, ...], Meta(max_length=16)] = ()
    """Of all routes."""
    trusted_proxies: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    """Networks ("10.0.0.0/8") whose X-Forwarded-For and X-Request-Priority are believed."""


EVERYTHING_LOCAL = GatewaySettings()
