"""What made something happen: which request, and which hop of its trace. A line of text, and outlives the request."""

from __future__ import annotations

import re

from msgspec import Struct

_TRACEPARENT_CHARS = 55
_TEXT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2} [A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Cause(Struct, frozen=True, gc=False):
    """`text` is `<traceparent> <request id>`, the traceparent (W3C Trace Context) being that of our own hop.

    Made by a `RequestContext`, or read by `cause_in`.
    """

    text: str

    @property
    def traceparent(self) -> str:
        return self.text[:_TRACEPARENT_CHARS]

    @property
    def trace_id(self) -> str:
        return self.text[3:35]

    @property
    def request_id(self) -> str:
        return self.text[_TRACEPARENT_CHARS + 1 :]


def cause_in(text: str) -> Cause | None:
    """What a column says; None if it says nothing, or nothing that is well formed."""
    return Cause(text) if text and _TEXT.fullmatch(text) else None


def text_of(cause: Cause | None) -> str:
    """For a column."""
    return "" if cause is None else cause.text
