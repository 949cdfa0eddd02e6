"""Problem details: one status per kind of error, one shape for all, and nothing but what was said on purpose."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from doorbuster.contracts.accounts import WeakPassword, WrongCredentials
from doorbuster.contracts.catalog import NotYourProduct
from doorbuster.contracts.flash_sale import SaleNotFound, SoldOut
from doorbuster.contracts.payments import PaymentRefused
from doorbuster.kernel import errors as kinds
from doorbuster.kernel.idempotency import IdempotencyKeyMissing, IdempotencyKeyReused
from doorbuster.kernel.ids import InvalidId
from doorbuster.platform.http.problems import BodyTooLarge, InternalError, Problem, problem_of, status_of
from doorbuster.platform.http.tokens import ExpiredToken, InvalidToken
from doorbuster.platform.sql.errors import RowRejected


@pytest.mark.parametrize(
    ("status", "errors"),
    [
        (400, [kinds.Invalid, InvalidId, WeakPassword, IdempotencyKeyMissing, RowRejected]),
        (401, [kinds.Unauthenticated, InvalidToken, ExpiredToken, WrongCredentials]),
        (403, [kinds.Forbidden, NotYourProduct]),
        (404, [kinds.NotFound, SaleNotFound]),
        (409, [kinds.Conflict, SoldOut]),
        (413, [kinds.TooLarge, BodyTooLarge]),
        (422, [kinds.Unprocessable, IdempotencyKeyReused, PaymentRefused]),
        (429, [kinds.TooMany]),
        (503, [kinds.Busy, kinds.Unavailable, kinds.Overloaded, kinds.OutcomeUnknown]),
        (500, [kinds.ShopError, InternalError]),
    ],
    ids=str,
)
def test_a_kind_of_error_has_one_status(status: int, errors: list[type[kinds.ShopError]]):
    for error in errors:
        told, _, body = problem_of(error(), "r1")
        document = msgspec.json.decode(body, type=Problem)
        assert told == document.status == status_of(error) == status
        assert (document.slug, document.title, document.type) == (error.slug, error.title, f"/problems/{error.slug}")
        assert document.request_id == "r1"
        assert document.detail == error.title, "when nothing else is said"


def test_every_kind_in_the_kernel_has_a_status_of_its_own():
    without = {kinds.ShopError}
    for kind in vars(kinds).values():
        if isinstance(kind, type) and issubclass(kind, kinds.ShopError) and kind not in without:
            assert status_of(kind) < 500 or issubclass(kind, kinds.Busy), kind


def headers_of(error: kinds.ShopError) -> dict[bytes, bytes]:
    found = problem_of(error, "r1")[1]
    assert len(dict(found)) == len(found), "no header twice"
    return dict(found)


def test_every_problem_is_named_as_one_and_is_not_stored():
    for error in (kinds.NotFound(), kinds.Busy(), InternalError()):
        told = headers_of(error)
        assert told[b"content-type"] == b"application/problem+json"
        assert told[b"cache-control"] == b"no-store"


def test_who_is_too_busy_says_when_to_come_back_and_nobody_else_does():
    assert headers_of(kinds.Unavailable(retry_after_s=7))[b"retry-after"] == b"7"
    assert headers_of(kinds.TooMany(retry_after_s=60))[b"retry-after"] == b"60"
    assert headers_of(kinds.OutcomeUnknown())[b"retry-after"] == b"1"
    assert b"retry-after" not in headers_of(kinds.Conflict())


def test_who_wants_a_token_says_which():
    assert headers_of(InvalidToken())[b"www-authenticate"] == b"Bearer"
    assert b"www-authenticate" not in headers_of(kinds.Forbidden())


def test_offending_values_are_told_and_cannot_pose_as_something_else():
    extra: dict[str, Any] = {
        "limit": 2**63,
        "title": "pwned",
        "status": 200,
        "type": "x",
        "slug": "x",
        "quantity": None,
    }
    document = msgspec.json.decode(problem_of(kinds.Conflict("no", **extra), "r1")[2])
    assert document == {
        "type": "/problems/conflict",
        "title": kinds.Conflict.title,
        "status": 409,
        "slug": "conflict",
        "detail": "no",
        "request_id": "r1",
        "limit": str(2**63),
        "quantity": "None",
    }


def test_what_caused_an_error_is_not_told():
    try:
        try:
            raise ValueError("canary: password of the database")
        except ValueError as cause:
            raise kinds.Unavailable("the orders database is not available") from cause
    except kinds.Unavailable as error:
        assert b"canary" not in problem_of(error, "r1")[2]


def test_an_error_without_words_says_its_title_and_one_with_words_its_words():
    assert (kinds.Conflict().detail, str(kinds.Conflict())) == (kinds.Conflict.title,) * 2
    assert (kinds.Conflict("sold").detail, str(kinds.Conflict("sold"))) == ("sold",) * 2
