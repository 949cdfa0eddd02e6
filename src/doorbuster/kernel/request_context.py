"""What travels with a request wherever it goes: its id, its trace, when nobody waits any more, and how urgent it is.

On the wire: `X-Request-Id`, `traceparent` and `tracestate` (W3C Trace Context), `X-Request-Timeout-Ms` (the time that
is left, because clocks of two machines differ) and, between our own processes, `X-Request-Priority`.
"""

from __future__ import annotations

import re
from contextvars import ContextVar

from msgspec import Struct

from doorbuster.kernel.cause import Cause
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.priority import Priority, priority_of

REQUEST_ID, TRACEPARENT, TRACESTATE = "x-request-id", "traceparent", "tracestate"
TIMEOUT, PRIORITY = "x-request-timeout-ms", "x-request-priority"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z", re.DOTALL)
_TRACESTATE_MAX = 512
_MASK = 2**64 - 1
_SPREAD = 0x9E3779B97F4A7C15
"""Odd, so that multiplying by it is one-to-one modulo 2**64: numbers in a row become ids far apart."""


class Trace(Struct, frozen=True):
    """W3C Trace Context: `span_id` is this hop's own, `parent_id` the caller's (empty: the trace begins here)."""

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool
    state: str = ""

    def traceparent(self) -> str:
        """What the next hop is told."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


class RequestContext:
    """Of one request. Trace, cause and priority are worked out when first asked for: most requests never are."""

    __slots__ = (
        "_cause",
        "_number",
        "_priority",
        "_process",
        "_trace",
        "_traceparent",
        "_tracestate",
        "deadline",
        "method",
        "path",
        "request_id",
    )

    def __init__(
        self,
        request_id: str,
        method: str,
        path: str,
        process: int,
        number: int,
        deadline: Deadline | None = None,
    ) -> None:
        """`process` (64 random bits) and `number` (of the request in it) are what new ids are made of."""
        self.request_id = request_id
        self.method = method
        self.path = path
        self.deadline = deadline
        self._process = process
        self._number = number
        self._traceparent = self._tracestate = ""
        self._trace: Trace | None = None
        self._cause: Cause | None = None
        self._priority: Priority | None = None

    def continue_trace(self, traceparent: str, tracestate: str = "") -> None:
        """What the caller says of their trace; it is ignored if it is not well formed."""
        self._traceparent, self._tracestate = traceparent, tracestate

    @property
    def trace(self) -> Trace:
        if self._trace is None:
            span = f"{((self._number * _SPREAD) ^ self._process) & _MASK or 1:016x}"
            self._trace = _continued(self._traceparent, self._tracestate, span) or Trace(
                f"{self._process:016x}{span}", span, "", sampled=False
            )
        return self._trace

    @property
    def cause(self) -> Cause:
        """What events tell of this request."""
        if self._cause is None:
            self._cause = Cause(f"{self.trace.traceparent()} {self.request_id}")
        return self._cause

    @property
    def priority(self) -> Priority:
        if self._priority is None:
            self._priority = priority_of(self.method, self.path)
        return self._priority

    @priority.setter
    def priority(self, priority: Priority) -> None:
        self._priority = priority

    def within(self, seconds: float) -> Deadline:
        """The request's own deadline, or `seconds` from now if that is sooner."""
        own, ours = self.deadline, Deadline.after(seconds)
        return own if own is not None and own.at_s < ours.at_s else ours

    def fields(self) -> list[tuple[str, str]]:
        """The header lines that tell the next hop."""
        trace = self.trace
        fields = [(REQUEST_ID, self.request_id), (TRACEPARENT, trace.traceparent())]
        if trace.state:
            fields.append((TRACESTATE, trace.state))
        if self.deadline is not None:
            fields.append((TIMEOUT, str(max(1, int(self.deadline.left_s() * 1000)))))
        return fields


def _continued(traceparent: str, tracestate: str, span_id: str) -> Trace | None:
    """The caller's trace, if what they say of it is well formed (W3C Trace Context, 3.2.2)."""
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not trace_id.strip("0") or not parent_id.strip("0"):
        return None
    state = tracestate if len(tracestate) <= _TRACESTATE_MAX and tracestate.isprintable() else ""
    return Trace(trace_id, span_id, parent_id, bool(int(flags, 16) & 1), state)


_current: ContextVar[RequestContext | None] = ContextVar("request", default=None)


def current_request() -> RequestContext | None:
    """Of the request that is being worked on; None in work that no request waits for."""
    return _current.get()


def current_cause() -> Cause | None:
    """Of what is done now: the current request, if there is one."""
    context = _current.get()
    return None if context is None else context.cause


def working_on(context: RequestContext | None) -> None:
    """From here on, in this task and those that it starts, this is the request."""
    _current.set(context)


def outgoing_fields() -> list[tuple[str, str]]:
    """The header lines for a call to others that the current request makes; none if no request is being worked on."""
    context = _current.get()
    return [] if context is None else context.fields()
