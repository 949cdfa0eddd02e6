"""What can go wrong with the instrument itself, as small typed errors with a stable slug."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class StampedeError(Exception):
    """Base of every error this package raises on purpose."""

    slug: ClassVar[str] = "stampede-error"


class BadUrlError(StampedeError, ValueError):
    """The base URL cannot be used: not http, no host, a query, credentials, a port out of range."""

    slug = "bad-url"

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"base URL {url!r}: {reason}")


class BadPlanError(StampedeError, ValueError):
    """A field of the plan is out of range or contradicts another."""

    slug = "bad-plan"

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(f"plan.{field}: {reason}")


class BadBuyersError(StampedeError, ValueError):
    """A buyers file that cannot be used; `line` counts from 1, 0 means the file as a whole."""

    slug = "bad-buyers"

    def __init__(self, path: str, line: int, reason: str) -> None:
        self.path, self.line, self.reason = path, line, reason
        super().__init__(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")


class BadRequestError(StampedeError, ValueError):
    """A request that must not be written to a socket (line break in a header, unsupported method)."""

    slug = "bad-request"

    def __init__(self, part: str, reason: str) -> None:
        self.part, self.reason = part, reason
        super().__init__(f"{part}: {reason}")


class UnreachableError(StampedeError):
    """Not one connection could be opened."""

    slug = "unreachable"

    def __init__(self, host: str, port: int, reason: str) -> None:
        self.host, self.port, self.reason = host, port, reason
        super().__init__(f"cannot connect to {host}:{port}: {reason}")


class SaleUnreadableError(StampedeError):
    """GET /v1/sales/{id} did not give a sale; `status` is 0 when there was no answer at all."""

    slug = "sale-unreadable"

    def __init__(self, sale_id: str, status: int, reason: str) -> None:
        self.sale_id, self.status, self.reason = sale_id, status, reason
        super().__init__(f"sale {sale_id}: {reason}")


class GeneratorFaultError(StampedeError):
    """The generator contradicts itself: its bug, not the server's, and its figures must not be used."""

    slug = "generator-fault"


class Failure(StrEnum):
    """Why a request has no answer. The first group was sent (its effect is unknown), the second never was."""

    TIMEOUT = "timeout"
    LOST = "connection-lost"
    GARBLED = "garbled-reply"
    TOO_LARGE = "reply-too-large"

    QUEUE_FULL = "queue-full"
    NO_CONNECTION = "no-connection-in-time"
    CLOSED = "client-closed"

    @property
    def sent(self) -> bool:
        """Whether the server may have acted on the request."""
        return self in _SENT


_SENT = frozenset({Failure.TIMEOUT, Failure.LOST, Failure.GARBLED, Failure.TOO_LARGE})


class NoAnswerError(StampedeError):
    """A request of `Pool` got no answer; `failure.sent` says whether the server may have acted on it."""

    slug = "no-answer"

    def __init__(self, method: str, path: str, failure: Failure) -> None:
        self.method, self.path, self.failure = method, path, failure
        super().__init__(f"{method} {path}: {failure.value}")
