"""Where a request enters: what its headers say of it is read once, by whoever stands first, door or gateway."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from itertools import count

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.principal import Principal
from doorbuster.kernel.request_context import RequestContext, working_on
from doorbuster.platform.http.problems import BadTimeout, RepeatedHeader
from doorbuster.platform.http.raw import CONTEXT, FIELDS, Scope
from doorbuster.platform.http.tokens import InvalidToken, KeyRing

_ONCE = frozenset(
    (
        b"authorization",
        b"content-type",
        b"doorbuster-admission",
        b"doorbuster-signature",
        b"idempotency-key",
        b"x-request-id",
        b"x-request-timeout-ms",
    )
)
"""Headers that decide something: two of them are refused, because two readers could take different ones."""
_TRACING = frozenset((b"traceparent", b"tracestate"))
"""Two of these mean that the caller does not know: the trace begins anew (W3C Trace Context, 3.2)."""
_READ = _ONCE | _TRACING

_GOOD_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_GOOD_TIMEOUT = re.compile(rb"[1-9][0-9]{0,6}")
PRINCIPAL = "principal"

_PROCESS = secrets.token_hex(4)
_PROCESS_BITS = secrets.randbits(64) | 1
_numbers = count(1)


def enter(scope: Scope) -> RequestContext:
    """The request's context, put into the scope with the headers that decide; a second call finds the first one's.

    Raises RepeatedHeader, BadTimeout; the scope has a context also then.
    """
    known: RequestContext | None = scope.get(CONTEXT)
    if known is not None:
        return known
    number = next(_numbers)
    method: str = scope.get("method", "GET")  # a WebSocket begins with a GET
    context = scope[CONTEXT] = RequestContext(f"{_PROCESS}-{number:x}", method, scope["path"], _PROCESS_BITS, number)
    scope["request_id"] = context.request_id
    found: dict[bytes, bytes] = {}
    scope[FIELDS] = found
    for name, value in scope["headers"]:
        if name in _READ:
            if name in found:
                if name in _ONCE:
                    raise RepeatedHeader(name=name.decode())
                value = b""  # noqa: PLW2901 - as if it were not there
            found[name] = value
    if found:
        _take_over(context, scope, found)
    working_on(context)
    return context


def _take_over(context: RequestContext, scope: Scope, found: dict[bytes, bytes]) -> None:
    """Raises BadTimeout."""
    own = found.get(b"x-request-id")
    if own is not None and _GOOD_REQUEST_ID.fullmatch(own):
        context.request_id = scope["request_id"] = own.decode()
    if b"traceparent" in found:
        context.continue_trace(found[b"traceparent"].decode("latin-1"), found.get(b"tracestate", b"").decode("latin-1"))
    timeout = found.get(b"x-request-timeout-ms")
    if timeout is not None:
        if not _GOOD_TIMEOUT.fullmatch(timeout):
            raise BadTimeout
        context.deadline = Deadline.after(int(timeout) / 1000)


def principal_in(fields: Mapping[bytes, bytes], ring: KeyRing) -> Principal | None:
    """Who asks; None if nobody says. A token that is no good is refused on every route.

    Raises InvalidToken, ExpiredToken.
    """
    value = fields.get(b"authorization")
    if value is None:
        return None
    if not value[:7].lower() == b"bearer ":
        raise InvalidToken("the Authorization header must be: Bearer <token>")
    return ring.verify(value[7:])
