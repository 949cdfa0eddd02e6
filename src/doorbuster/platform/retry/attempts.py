"""Which attempt this is: known to whoever is called from here, and told to other processes in a header.

Who works for a retry does not retry: otherwise three layers that try three times each ask twenty-seven times.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

HEADER = b"doorbuster-attempt"
"""`2` and more: the caller asks again. The first attempt carries none."""

_attempt: ContextVar[int] = ContextVar("attempt", default=1)


def attempt() -> int:
    """1: nobody above us has asked before."""
    return _attempt.get()


def is_retry() -> bool:
    return _attempt.get() > 1


@contextmanager
def trying(number: int) -> Generator[None]:
    """What is called inside belongs to attempt `number`."""
    token = _attempt.set(number)
    try:
        yield
    finally:
        _attempt.reset(token)


def attempt_of_header(value: bytes | None) -> int:
    """What a caller says; nonsense is a first attempt."""
    return min(int(value), 99) if value is not None and value.isdigit() and len(value) <= 2 and int(value) > 1 else 1
