"""What happened, told to whoever listens."""

from __future__ import annotations

from typing import Generic, TypeVar

from msgspec import Struct

from doorbuster.kernel.cause import Cause


class Event(Struct, frozen=True, tag_field="type"):
    """Base of every event. Subclasses declare `tag="context.what-happened"` and say whom it is about.

    The order of events holds per `aggregate_id` only.
    """

    @property
    def aggregate_id(self) -> int:
        raise NotImplementedError


E = TypeVar("E", bound=Event, covariant=True)


class Envelope(Struct, Generic[E], frozen=True):
    """An event under way. (`source`, `seq`) is its identity wherever it travels."""

    source: str
    seq: int
    at_ms: int
    event: E
    cause: Cause | None = None
    """The request that it happened for, if there was one."""
