"""The edge's table from error to HTTP status, and the problem+json body."""

from __future__ import annotations

import secrets

import msgspec

from doorbuster.lab.payment_simulator import errors
from doorbuster.lab.payment_simulator.errors import SimulatorError
from doorbuster.lab.payment_simulator.exchange import Response

RETRY_AFTER_S = b"1"

_STATUS_AND_TITLE: dict[type[SimulatorError], tuple[int, str]] = {
    errors.MalformedRequestError: (400, "Malformed request"),
    errors.InvalidCursorError: (400, "Invalid cursor"),
    errors.RouteNotFoundError: (404, "Not found"),
    errors.IntentNotFoundError: (404, "Intent not found"),
    errors.MethodNotAllowedError: (405, "Method not allowed"),
    errors.BodyTooSlowError: (408, "Request timeout"),
    errors.IdempotencyConflictError: (409, "Idempotency conflict"),
    errors.TooManyTriesError: (409, "Too many tries"),
    errors.NotCapturedError: (409, "Payment not captured"),
    errors.RefundTooLargeError: (409, "Refund exceeds the capture"),
    errors.BodyTooLargeError: (413, "Body too large"),
    errors.InvalidRequestError: (422, "Invalid request"),
    errors.MethodUnknownError: (422, "Payment method unknown"),
    errors.CurrencyMismatchError: (422, "Currency mismatch"),
    errors.OutageError: (503, "Simulated outage"),
    errors.OverloadedError: (503, "Overloaded"),
    errors.StorageFailedError: (503, "Storage failed"),
}


class Problem(msgspec.Struct, frozen=True):
    """The body of every refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    slug: str
    request_id: str


def problem_response(error: SimulatorError) -> Response:
    """The refusal as an answer; a 503 carries Retry-After, a 405 Allow."""
    status, title = _STATUS_AND_TITLE[type(error)]
    problem = Problem(f"/problems/{error.slug}", title, status, str(error), error.slug, secrets.token_hex(8))
    return Response(status, msgspec.json.encode(problem), b"application/problem+json", _extra_headers(error, status))


def _extra_headers(error: SimulatorError, status: int) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(error, errors.MethodNotAllowedError):
        return ((b"allow", ", ".join(error.allowed).encode()),)
    if status == 503:
        return ((b"retry-after", RETRY_AFTER_S),)
    if status in (408, 413):  # the rest of the body is still on the wire: the connection cannot be reused
        return ((b"connection", b"close"),)
    return ()
