"""The claim on the wire: the bytes of a request, and what a reply means."""

from __future__ import annotations

from typing import Literal

import msgspec

from .target import Target

OutcomeKind = Literal["claimed", "refused", "unknown", "error"]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of a claim.

    claimed: acknowledged, with order id and units.
    refused: a definite no of a healthy server; `reason` is the problem's slug.
    unknown: it may or may not have happened; only asking again with the same key tells.
    error:   a definite no that no well-formed claim should get (401, 404, ...), or never sent.
    """

    kind: OutcomeKind
    reason: str = ""
    order_id: str = ""
    quantity: int = 0


class _Claim(msgspec.Struct, frozen=True, gc=False):
    order_id: str
    quantity: int


class _Problem(msgspec.Struct, frozen=True, gc=False):
    slug: str = ""
    type: str = ""


class Sale(msgspec.Struct, frozen=True):
    """GET /v1/sales/{id}, as far as buyers and the verdict need it."""

    id: str
    state: str
    units: int
    units_left: int
    limit_per_customer: int | None = None


_claim_decoder = msgspec.json.Decoder(_Claim)
_problem_decoder = msgspec.json.Decoder(_Problem)
_sold_out = Outcome("refused", "sold-out")  # most answers of a stampede


class ClaimWriter:
    """Writes claim requests of one sale; everything that does not vary is encoded once."""

    def __init__(self, target: Target, sale_id: str, quantity: int) -> None:
        self.path = f"/v1/sales/{sale_id}/claims"
        self.body = msgspec.json.encode({"quantity": quantity})
        self._head = (
            f"POST {target.prefix}{self.path} HTTP/1.1\r\nhost: {target.host_header}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\nauthorization: Bearer "
        )
        self._tail = f"\r\n\r\n{self.body.decode()}"

    def request(self, token: str, key: str) -> bytes:
        """The whole request. Token and key hold visible ASCII only (see `load_buyers`)."""
        return f"{self._head}{token}\r\nidempotency-key: {key}{self._tail}".encode("ascii")

    def headers(self, token: str, key: str) -> dict[str, str]:
        """The same for `Pool.request`."""
        return {
            "content-type": "application/json",
            "authorization": f"Bearer {token}",
            "idempotency-key": key,
        }


def classify(status: int, body: bytes) -> Outcome:
    """The meaning of a reply to a claim. Never raises: what cannot be read is unknown."""
    if status == 201:
        return _claimed(body)
    if status == 409 and b'"slug":"sold-out"' in body:
        return _sold_out
    if 300 <= status < 500:  # a redirect has not claimed anything either
        definite_no = status in (409, 422, 429)
        return Outcome("refused" if definite_no else "error", problem_slug(status, body))
    slug = problem_slug(status, body)
    if status == 503 and slug == "overloaded":
        return Outcome("refused", slug)
    return Outcome("unknown", slug)


def _claimed(body: bytes) -> Outcome:
    try:
        claim = _claim_decoder.decode(body)
    except msgspec.DecodeError:
        return Outcome("unknown", "unreadable-201")
    if not claim.order_id or claim.quantity < 1:
        return Outcome("unknown", "unreadable-201")
    return Outcome("claimed", "", claim.order_id, claim.quantity)


def problem_slug(status: int, body: bytes) -> str:
    """The slug of a problem document, from its type if need be; `status-<n>` if it has neither."""
    try:
        problem = _problem_decoder.decode(body)
    except msgspec.DecodeError:
        return f"status-{status}"
    return problem.slug or problem.type.rpartition("/")[2] or f"status-{status}"
