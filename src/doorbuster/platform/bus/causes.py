"""What a consumer's transaction knows of where its events came from: it handles those of many requests at once."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import structlog

from doorbuster.kernel.cause import Cause
from doorbuster.kernel.events import Envelope, Event


class Causes(NamedTuple):
    by_aggregate: dict[int, Cause | None]
    """None: events of different requests are about it, so nobody knows which one an effect is owed to."""
    shared: Cause | None
    """What all of them have in common."""


def causes_of(envelopes: Sequence[Envelope[Event]]) -> Causes:
    by_aggregate: dict[int, Cause | None] = {}
    for envelope in envelopes:
        about, cause = envelope.event.aggregate_id, envelope.cause
        if by_aggregate.setdefault(about, cause) != cause:
            by_aggregate[about] = None
    first = envelopes[0].cause
    shared = first if all(envelope.cause == first for envelope in envelopes) else None
    return Causes(by_aggregate, shared)


@contextmanager
def said_in_logs(cause: Cause | None) -> Generator[None]:
    """Meanwhile, lines of this task or thread say the request's id and trace, if they are known."""
    if cause is None:
        yield
        return
    with structlog.contextvars.bound_contextvars(request_id=cause.request_id, trace_id=cause.trace_id):
        yield
