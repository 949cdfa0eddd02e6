"""What may go wrong, by kind. Each error is a small class with a stable slug; the edge alone maps kinds to statuses.

A context's own errors live beside its contract and derive from one of the kinds below.
"""

from __future__ import annotations

from typing import ClassVar


class ShopError(Exception):
    """Base of every expected error.

    `slug` is stable and documented; `detail` is a sentence for people; `extra` holds the offending values
    and is shown to the caller, so it must never hold a secret.
    """

    slug: ClassVar[str] = "error"
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, detail: str = "", **extra: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.extra = extra


class Invalid(ShopError):
    """The request itself is wrong; repeating it will not help."""

    slug = "invalid"
    title = "The request is not valid"


class Unprocessable(ShopError):
    """The request is well-formed, but contradicts what is known."""

    slug = "unprocessable"
    title = "The request contradicts what is known"


class Unauthenticated(ShopError):
    slug = "unauthenticated"
    title = "A valid access token is needed"


class Forbidden(ShopError):
    slug = "forbidden"
    title = "This account may not do that"


class NotFound(ShopError):
    slug = "not-found"
    title = "There is no such thing here"


class Conflict(ShopError):
    slug = "conflict"
    title = "The current state does not allow this"


class TooLarge(ShopError):
    slug = "too-large"
    title = "The request is too large"


class Busy(ShopError):
    """Try again after `retry_after_s` seconds. Nothing was done."""

    slug = "overloaded"
    title = "Too many requests are waiting"

    def __init__(self, detail: str = "", *, retry_after_s: int = 1, **extra: object) -> None:
        super().__init__(detail, **extra)
        self.retry_after_s = retry_after_s


class TooMany(Busy):
    """This caller asks too often. Nothing was done; others are served."""

    slug = "too-many-requests"
    title = "Too many requests"


class Unavailable(Busy):
    """A part that is needed cannot be reached. Nothing was done."""

    slug = "unavailable"
    title = "A part of the shop is not available"


class OutcomeUnknown(Busy):
    """The connection broke while the answer was under way: it may or may not have happened.

    Asking again with the same idempotency key tells.
    """

    slug = "outcome-unknown"
    title = "It is not known whether this took effect; ask again with the same key"


class Overloaded(Busy):
    """A bounded queue is full, or the deadline passed before the work began. Nothing was done."""

    slug = "overloaded"
    title = "Too many requests are waiting"
