"""Bodies that are malformed, mistyped, too large or out of bounds: their own slug, no 5xx, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from journeys.api_shop import YUAN, ApiShop, api_shop, empty_database, problem
from journeys.api_stock import (
    ACCOUNT,
    ADDRESS,
    INVALID,
    MALFORMED,
    PRICE,
    Refusals,
    Stock,
    Taker,
    assert_refused,
    send,
    stocked,
)

BODY_BYTES_MAX = 64 * 1024


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    folder = tmp_path_factory.mktemp("bad-input")
    if request.param == "sqlite":
        with api_shop(folder) as shop:
            yield shop
    else:
        server = request.getfixturevalue("postgres")
        with empty_database(server) as url, api_shop(folder, database_url=url) as shop:
            yield shop


@pytest.fixture(scope="module")
def stock(shop: ApiShop) -> Stock:
    return stocked(shop)


NOT_JSON: dict[str, bytes] = {
    "cut off": b'{"quantity": 1',
    "no JSON": b"quantity=1",
    "a word": b"nul",
    "single quotes": b"{'quantity': 1}",
    "two documents": b'{"quantity": 1} {"quantity": 1}',
    "a trailing comma": b'{"quantity": 1,}',
    "NaN": b'{"quantity": NaN}',
    "a byte order mark": b'\xef\xbb\xbf{"quantity": 1}',
    "UTF-16": '{"quantity": 1}'.encode("utf-16"),
    "Latin-1": '{"naïve": 1}'.encode("latin-1"),
    "an overlong NUL": b'{"\xc0\x80": 1}',
    "an encoded surrogate": b'{"\xed\xa0\x80": 1}',
    "a NUL byte behind": b'{"quantity": 1}\x00',
    "a NUL byte within": b'{"quantity\x00": 1}',
}
OF_ANOTHER_TYPE: dict[str, bytes] = {
    "a list": b"[]",
    "a string": b'"quantity"',
    "a number": b"1",
    "null": b"null",
    "true": b"true",
    "lists in lists": b"[" * 30_000,
    "objects in objects": b'{"a":' * 10_000,
}
WRONG_MEDIA_TYPES: tuple[Any, ...] = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/json5",
    "application/json; charset=utf-16",
    "",
    ";",
    b"\xff",
)


def test_what_is_not_json_is_called_so(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        path = f"/v1/sales/{stock.open_sale['id']}/claims"
        for name, body in NOT_JSON.items():
            assert problem(shop.ask("POST", path, "owner", body, shop.key())) == MALFORMED, name


def test_bodies_that_are_not_json(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        for taker in stock.takers(shop):
            refusals: Refusals = []
            for name, body in NOT_JSON.items():
                refusals.append((name, send(shop, taker, body), [MALFORMED, INVALID]))
            for name, body in OF_ANOTHER_TYPE.items():
                refusals.append((name, send(shop, taker, body), [INVALID, MALFORMED]))
            refusals.append(("nothing", send(shop, taker, b""), [INVALID, MALFORMED]))
            for media_type in WRONG_MEDIA_TYPES:
                response = send(shop, taker, json.dumps(taker.body).encode(), {"Content-Type": media_type})
                refusals.append((repr(media_type), response, [(415, "unsupported-media-type")]))
            assert_refused(refusals)


def test_fields_that_are_missing_unknown_or_of_another_type(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        for taker in stock.takers(shop):
            refusals: Refusals = []
            for name, body in misshapen(taker.body):
                refusals.append((f"{taker.path}: {name}", send(shop, taker, body), [INVALID]))
            assert_refused(refusals)


def misshapen(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for intruder in ("id", "role", "status", "__proto__", "quantity ", ""):
        yield f"unknown field {intruder!r}", {**body, intruder: "admin"}
    for field, value in body.items():
        for other in (None, [], {}, {"a": 1}, True, 1.5, "true", 7, -1, [[]], "x" * 6000):
            if not resembles(other, value) and (field, other) not in HARMLESS:
                yield f"{field} = {other!r:.40}", {**body, field: other}


def resembles(one: object, other: object) -> bool:
    """Whether both are of the same JSON type (and size): such a value may be right."""
    return type(one) is type(other) and not (isinstance(one, str) and len(one) > 5000)


HARMLESS = [("brand", None)]
"""A change to null leaves a value as it is."""


def test_numbers_out_of_bounds(shop: ApiShop, stock: Stock):
    path = f"/v1/sales/{stock.open_sale['id']}/claims"
    quantities: list[Any] = [0, -1, 1001, 2**31, 2**63, -(2**63) - 1, 10**30, 1.0, 0.5, 1e300, True, "1", None]
    sku_id = stock.product["skus"][0]["id"]
    terms: list[dict[str, Any]] = [
        {"units": 0},
        {"units": -1},
        {"units": 10**9},
        {"units": 2**63},
        {"units": 1.5},
        {"limit_per_customer": 0},
        {"limit_per_customer": 10**6},
        {"pay_within_s": 0},
        {"pay_within_s": 10**9},
        {"price": {"amount": -1, "currency": YUAN}},
        {"price": {"amount": 10**14, "currency": YUAN}},
        {"price": {"amount": 990, "currency": "cny"}},
        {"price": {"amount": 990, "currency": "CNY\n"}},
        {"price": {"amount": 990, "currency": "元元元"}},
        {"price": {"amount": 990}},
        {"price": {"amount": 990, "currency": YUAN, "scale": 3}},
        {"opens_at": "tomorrow"},
        {"opens_at": "2026-13-01T00:00:00Z"},
        {"opens_at": "2026-01-01T00:00:00"},
        {"closes_at": "0001-01-01T00:00:00+14:00"},
        {"closes_at": "9999-12-31T23:59:59-14:00"},
        {"closes_at": "2026-01-01T00:00:61Z"},
        {"closes_at": "2026-01-01T00:00:00Z\n"},
    ]
    impossible: list[dict[str, Any]] = [
        {"price": {"amount": 0, "currency": YUAN}},
        {"price": {"amount": 990, "currency": "USD"}},
        {"price": {"amount": 10**13, "currency": YUAN}, "limit_per_customer": 1000},
        {"opens_at": "2027-01-01T00:00:00Z", "closes_at": "2027-01-01T00:00:00Z"},
        {"closes_at": "2026-02-01T00:00:00Z"},
    ]
    with shop.unchanged():
        refusals: Refusals = []
        for quantity in quantities:
            response = shop.ask("POST", path, "owner", {"quantity": quantity}, key=shop.key())
            refusals.append((f"quantity {quantity!r}", response, [INVALID]))
        for quantity in ("1e2", "1E400", "-0", "01", "0x1", "1_0", "Infinity"):
            response = shop.ask("POST", path, "owner", b'{"quantity": %b}' % quantity.encode(), key=shop.key())
            refusals.append((f"quantity {quantity}", response, [INVALID, MALFORMED]))
        for change in terms:
            response = shop.ask("POST", "/v1/sales", "merchant", shop.sale_body(sku_id, **change), key=shop.key())
            refusals.append((repr(change), response, [INVALID]))
        for change in impossible:
            response = shop.ask("POST", "/v1/sales", "merchant", shop.sale_body(sku_id, **change), key=shop.key())
            refusals.append((repr(change), response, [(400, "sale-terms-invalid")]))
        assert_refused(refusals)


UNSEEN = ("\x00", "a\x00b", "\x1b[31m", "line\nbreak", "\u202eevil", "\x7f", "\x85")
LONE_SURROGATES = (rb'"\ud800"', rb'"\udfff"', rb'"a\ud83dz"', rb'"\udc00\ud800"')


def test_texts_with_characters_that_cannot_be_stored_or_shown(shop: ApiShop, stock: Stock):
    product = {"title": {"en": "x"}, "category": "tea", "skus": [{"code": "U", "price": PRICE}]}
    with shop.unchanged():
        refusals: Refusals = []
        for text in UNSEEN:
            invalid = [INVALID, (400, "product-invalid"), (400, "invalid-text")]
            bodies: list[tuple[str, str | None, Any]] = [
                ("/v1/products", "merchant", {**product, "title": {"en": text}}),
                ("/v1/products", "merchant", {**product, "title": {"en": "x", "zh": text}}),
                ("/v1/products", "merchant", {**product, "brand": text}),
                ("/v1/products", "merchant", {**product, "category": text}),
                ("/v1/products", "merchant", {**product, "media": [f"https://example.org/{text}"]}),
                ("/v1/products", "merchant", {**product, "skus": [{"code": text, "price": PRICE}]}),
                ("/v1/products", "merchant", {**product, "skus": [{"code": "U", "price": PRICE, "name": text}]}),
                ("/v1/accounts", None, {**ACCOUNT, "name": text}),
                ("/v1/accounts", None, {**ACCOUNT, "email": f"{text}@example.org"}),
                *(
                    ("/v1/me/addresses", "owner", {**ADDRESS, field: text})
                    for field in (*ADDRESS, "region", "postcode")
                ),
            ]
            for path, who, body in bodies:
                response = shop.ask("POST", path, who, body, key=shop.key())
                refusals.append((f"{path}: {body!r}", response, invalid))
        for surrogate in LONE_SURROGATES:
            body = msgspec.json.encode({**ACCOUNT, "name": "NAME"}).replace(b'"NAME"', surrogate)
            response = shop.ask("POST", "/v1/accounts", None, body, key=shop.key())
            refusals.append((repr(surrogate), response, [MALFORMED, INVALID]))
        for category in ("%00", "a%00b", "%ED%A0%80", "%FF", "Tea", "a'--"):
            assert shop.get(f"/v1/products?category={category}")["items"] == []
        assert_refused(refusals)


def test_lists_longer_than_allowed(shop: ApiShop, stock: Stock):
    skus = [{"code": f"L{number}", "price": PRICE} for number in range(51)]
    urls = ["https://example.org/a"] * 21
    product: dict[str, Any] = {"title": {"en": "x"}, "category": "tea", "skus": skus[:1]}
    with shop.unchanged():
        refusals: Refusals = [
            (
                name,
                shop.ask("POST", "/v1/products", "merchant", body, key=shop.key()),
                [INVALID, (400, "product-invalid")],
            )
            for name, body in (
                ("too many SKUs", {**product, "skus": skus}),
                ("no SKUs", {**product, "skus": []}),
                ("the same SKU twice", {**product, "skus": [skus[0], skus[0]]}),
                ("too many media", {**product, "media": urls}),
            )
        ]
        assert_refused(refusals)


def test_bodies_larger_than_the_server_takes(shop: ApiShop, stock: Stock):
    too_large = [(413, "body-too-large")]
    with shop.unchanged():
        refusals: Refusals = []
        for taker in stock.takers(shop):
            padded = json.dumps(taker.body).encode().ljust(BODY_BYTES_MAX + 1)
            refusals.append((f"{taker.path} declared", send(shop, taker, padded), too_large))
            refusals.append((f"{taker.path} chunked", send_chunked(shop, taker, padded), too_large))
        callback = b"x" * (16 * 1024 + 1)
        refusals.append(("a callback", shop.ask("POST", "/v1/payments/webhooks/simulator", body=callback), too_large))
        assert_refused(refusals)

        lies = b"POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n" + b" " * 70_000
        assert shop.raw(lies, half_close=True).startswith(b"HTTP/1.1 413 ")


def test_a_body_of_just_the_allowed_size_is_read(shop: ApiShop, stock: Stock):
    padded = json.dumps({"refresh_token": "x" * 43}).encode().ljust(BODY_BYTES_MAX)
    response = shop.ask("POST", "/v1/sessions/refresh", body=padded)
    assert problem(response) == (401, "invalid-refresh-token")


def send_chunked(shop: ApiShop, taker: Taker, body: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Idempotency-Key": shop.key()}
    headers |= shop.people[taker.who].headers if taker.who else {}
    pieces = (body[at : at + 8192] for at in range(0, len(body), 8192))
    return shop.client.request(taker.method, taker.path, content=pieces, headers=headers)


def test_nobody_registers_as_somebody_special(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        for extra in ({"role": "admin"}, {"id": "1"}, {"created_at": "2026-01-01T00:00:00Z"}, {"password_hash": "x"}):
            response = shop.ask("POST", "/v1/accounts", None, {**ACCOUNT, **extra}, shop.key())
            assert problem(response) == INVALID
        for weak in ("password123", "1234567890", "new@example.org"):
            body = {**ACCOUNT, "password": weak}
            assert problem(shop.ask("POST", "/v1/accounts", None, body, shop.key())) == (400, "weak-password")
