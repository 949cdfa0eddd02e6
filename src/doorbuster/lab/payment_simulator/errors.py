"""What the provider refuses, with the offending values; ``problems`` chooses the HTTP status."""

from __future__ import annotations

from typing import ClassVar


class SimulatorError(Exception):
    """Base of everything that ends as a problem+json answer."""

    slug: ClassVar[str] = "simulator-error"


class MalformedRequestError(SimulatorError):
    """The request cannot be read at all: broken JSON, a broken query, a broken length."""

    slug = "malformed-request"


class InvalidRequestError(SimulatorError):
    """The request can be read, but a value is outside its bounds."""

    slug = "invalid-request"


class InvalidCursorError(SimulatorError):
    """A statement cursor that this provider never gave out."""

    slug = "invalid-cursor"

    def __init__(self) -> None:
        super().__init__("the cursor was not given out by this statement")


class BodyTooLargeError(SimulatorError):
    """More body than ``bytes_max``."""

    slug = "body-too-large"

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"a request body has at most {bytes_max} bytes")


class BodyTooSlowError(SimulatorError):
    """The body did not arrive within ``seconds``."""

    slug = "request-timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request body did not arrive within {seconds:g} s")


class RouteNotFoundError(SimulatorError):
    """No such address."""

    slug = "not-found"

    def __init__(self) -> None:
        super().__init__("there is nothing at this address")


class MethodNotAllowedError(SimulatorError):
    """The address exists, the method does not."""

    slug = "method-not-allowed"

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__(f"allowed here: {', '.join(allowed)}")
        self.allowed = allowed


class IntentNotFoundError(SimulatorError):
    """No intent has this payment id or reference."""

    slug = "intent-not-found"

    def __init__(self, key: str) -> None:
        super().__init__(f"no intent {key}")


class IdempotencyConflictError(SimulatorError):
    """The same id came before with other values."""

    slug = "idempotency-conflict"

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(f"{kind} {key} exists with other values")


class MethodUnknownError(SimulatorError):
    """No payment method has this token."""

    slug = "payment-method-unknown"

    def __init__(self, method: str) -> None:
        super().__init__(f"no payment method {method}")


class TooManyTriesError(SimulatorError):
    """One intent was declined ``tries_max`` times."""

    slug = "too-many-tries"

    def __init__(self, tries_max: int) -> None:
        super().__init__(f"an intent can be declined {tries_max} times")


class NotCapturedError(SimulatorError):
    """A refund was asked of a payment that holds no money."""

    slug = "payment-not-captured"

    def __init__(self, payment_id: str, status: str) -> None:
        super().__init__(f"payment {payment_id} is {status}, there is nothing to refund")


class RefundTooLargeError(SimulatorError):
    """The refund exceeds what is left of the capture; both in minor units."""

    slug = "refund-exceeds-captured"

    def __init__(self, asked: int, left: int) -> None:
        super().__init__(f"asked to refund {asked}, {left} is left of the capture")


class CurrencyMismatchError(SimulatorError):
    """The refund is in another currency than its payment."""

    slug = "currency-mismatch"

    def __init__(self, given: str, expected: str) -> None:
        super().__init__(f"the payment was made in {expected}, not in {given}")


class OutageError(SimulatorError):
    """The simulated outage: the request had no effect."""

    slug = "simulated-outage"

    def __init__(self) -> None:
        super().__init__("the provider is down, as it was told to be")


class OverloadedError(SimulatorError):
    """``waiting_max`` jobs wait for the store already; the request had no effect."""

    slug = "overloaded"

    def __init__(self, waiting_max: int) -> None:
        super().__init__(f"{waiting_max} requests wait for the store already")


class StorageFailedError(SimulatorError):
    """The store refused the transaction (disk full, for example); the request had no durable effect."""

    slug = "storage-failed"

    def __init__(self) -> None:
        super().__init__("the store could not make the change durable")
