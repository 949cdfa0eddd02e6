"""Tokens that are forged or expired, headers that come twice, and what is not HTTP at all. Nothing is written."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import jwt
import msgspec
import pytest

from doorbuster.kernel.clock import SystemClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.bounded_http import HEAD_BYTES_MAX
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.settings.keys import Key
from doorbuster.platform.settings.secrets import load_secrets
from journeys.api_shop import ApiShop, api_shop, problem
from journeys.api_stock import (
    ADDRESS,
    Refusals,
    Stock,
    assert_refused,
    stocked,
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("bad-http")) as shop:
        yield shop


@pytest.fixture(scope="module")
def stock(shop: ApiShop) -> Stock:
    return stocked(shop)


def test_tokens_that_are_missing_forged_or_expired(shop: ApiShop, stock: Stock):
    missing, invalid, expired = (401, "unauthenticated"), (401, "invalid-token"), (401, "expired-token")
    claims = f"/v1/sales/{stock.open_sale['id']}/claims"
    order = f"/v1/orders/{stock.order['id']}"
    with shop.unchanged():
        refusals: Refusals = []
        for method, path, body in (
            ("POST", claims, {"quantity": 1}),
            ("GET", order, None),
            ("POST", f"{order}/cancel", None),
            ("GET", "/v1/me", None),
        ):
            refusals.append((f"{path}: none", shop.ask(method, path, None, body, shop.key()), [missing]))
            for name, value, slug in bad_authorizations(shop):
                headers = {"Authorization": value}
                response = shop.ask(method, path, None, body, shop.key(), headers)
                refusals.append((f"{path}: {name}", response, [expired if slug == "expired" else invalid]))
        # Also where nobody needs one: a client that sends a token wants to know that it is no good.
        stale = {"Authorization": "Bearer x.y.z"}
        refusals.append(("public", shop.ask("GET", "/v1/products", headers=stale), [invalid]))
        assert_refused(refusals)


def bad_authorizations(shop: ApiShop) -> Iterator[tuple[str, Any, str]]:
    owner = shop.people["owner"]
    header, payload, signature = owner.token.split(".")
    claims = msgspec.json.decode(decoded(payload))
    key = load_secrets(shop.settings).signing_keys()[0]
    stranger = Key(key.id, b"x" * 32)
    admin = encoded(msgspec.json.encode({**claims, "role": "admin"}))

    yield "no scheme", owner.token, "invalid"
    yield "another scheme", f"Basic {encoded(b'a:b')}", "invalid"
    yield "no token", "Bearer", "invalid"
    yield "two spaces", f"Bearer  {owner.token}", "invalid"
    yield "not ASCII", "Bearer \xff\xfe".encode("latin-1"), "invalid"
    yield "a huge one", f"Bearer {'x' * 20_000}", "invalid"
    yield "no signature", f"Bearer {header}.{payload}.", "invalid"
    yield "two parts", f"Bearer {header}.{payload}", "invalid"
    yield "five parts", f"Bearer {owner.token}.x.y", "invalid"
    yield "a cut signature", f"Bearer {owner.token[:-1]}", "invalid"
    yield "another role", f"Bearer {header}.{admin}.{signature}", "invalid"
    for algorithm in ("none", "None", "nOnE", ""):
        none = encoded(msgspec.json.encode({"alg": algorithm, "kid": key.id, "typ": "JWT"}))
        yield f"alg {algorithm!r}, unsigned", f"Bearer {none}.{payload}.", "invalid"
        yield f"alg {algorithm!r}, signed", f"Bearer {none}.{payload}.{signature}", "invalid"
    named = {"kid": key.id}
    yield "HS512", f"Bearer {jwt.encode(claims, key.secret * 2, 'HS512', named)}", "invalid"
    yield "another key", f"Bearer {jwt.encode(claims, stranger.secret, 'HS256', named)}", "invalid"
    yield "an unknown kid", f"Bearer {jwt.encode(claims, key.secret, 'HS256', {'kid': '../../dev/null'})}", "invalid"
    yield "another issuer", f"Bearer {resigned(shop, {**claims, 'iss': 'else'})}", "invalid"
    yield "no subject", f"Bearer {resigned(shop, {k: v for k, v in claims.items() if k != 'sub'})}", "invalid"
    yield "an empty subject", f"Bearer {resigned(shop, {**claims, 'sub': ''})}", "invalid"
    yield "an unknown role", f"Bearer {resigned(shop, {**claims, 'role': 'root'})}", "invalid"
    expired = KeyRing([key], SystemClock()).sign(Principal(int(owner.account_id), "customer"), -1)
    yield "expired", f"Bearer {expired}", "expired"


def resigned(shop: ApiShop, claims: dict[str, Any]) -> str:
    """Signed with the shop's own key, so that only the claims are wrong."""
    key = load_secrets(shop.settings).signing_keys()[0]
    header = shop.people["owner"].token.split(".")[0]
    signed = f"{header}.{encoded(msgspec.json.encode(claims))}"
    mac = jwt.get_algorithm_by_name("HS256").sign(signed.encode(), key.secret)  # type: ignore[arg-type]
    return f"{signed}.{encoded(mac)}"


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_headers_that_come_twice(shop: ApiShop, stock: Stock):
    path = f"/v1/sales/{stock.open_sale['id']}/claims"
    token = f"Bearer {shop.people['owner'].token}"
    other = f"Bearer {shop.people['other'].token}"
    base = [("Authorization", token), ("Idempotency-Key", "twice"), ("Content-Type", "application/json")]
    twice = [*((name, value) for name, value in base), ("Authorization", other), ("Idempotency-Key", "other")]
    with shop.unchanged():
        for repeated in (("Authorization", other), ("Idempotency-Key", "other"), ("Content-Type", "text/plain")):
            response = shop.client.post(path, content=b'{"quantity": 1}', headers=[*base, repeated])
            assert problem(response) == (400, "repeated-header"), repeated
        response = shop.client.post("/v1/me/addresses", content=json.dumps(ADDRESS).encode(), headers=twice)
        assert problem(response) == (400, "repeated-header")


GARBAGE = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "words": b"hello shop\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\n\r\n",
    "a space before the colon": b"GET /healthz HTTP/1.1\r\nhost : x\r\n\r\n",
    "a header without a colon": b"GET /healthz HTTP/1.1\r\nhost x\r\n\r\n",
    "a NUL in a header": b"GET /healthz HTTP/1.1\r\nx: a\x00b\r\n\r\n",
    "a raw byte in the path": b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    "a CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n",
    "two lengths": b"POST /v1/sessions HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": b"POST / HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /v1/sessions HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    "a length of letters": b"POST /v1/sessions HTTP/1.1\r\ncontent-length: many\r\n\r\n",
    "chunks of letters": b"POST /v1/sessions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
}


def test_what_is_not_http(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        for name, sent in GARBAGE.items():
            head, _, body = shop.raw(sent).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 "), (name, head)
            assert b"content-type: application/problem+json" in head
            assert json.loads(body)["slug"] == "malformed-http", name
        head, _, body = shop.raw(b"GET /healthz HTTP/1.1\r\nx: ".ljust(HEAD_BYTES_MAX + 1, b"y")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 431 "), head
        assert json.loads(body)["slug"] == "head-too-large"


def test_garbage_behind_a_request_does_not_take_its_answer(shop: ApiShop, stock: Stock):
    sale = shop.sale()
    claim = claim_request(shop, sale["id"], "pipelined")

    answers = shop.raw(claim + b"GARBAGE\r\n\r\n")

    head, _, body = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 201 ")
    assert b"connection: close" in head
    again = shop.ask("POST", f"/v1/sales/{sale['id']}/claims", "owner", {"quantity": 1}, "pipelined")
    assert (again.status_code, again.content) == (201, body)
    shop.settle()


def test_requests_in_one_go_are_answered_in_order(shop: ApiShop, stock: Stock):
    sale = shop.sale()
    good_one = claim_request(shop, sale["id"], "first")
    bad_one = claim_request(shop, sale["id"], "second", b'{"quantity": 0}')

    answers = shop.raw(good_one + bad_one + good_one + b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"201", b"400", b"201", b"200"]
    assert shop.get(f"/v1/sales/{sale['id']}")["units"] - 1 == shop.get(f"/v1/sales/{sale['id']}")["units_left"]
    shop.settle()


def claim_request(shop: ApiShop, sale_id: str, key: str, body: bytes = b'{"quantity": 1}') -> bytes:
    head = (
        f"POST /v1/sales/{sale_id}/claims HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {shop.people['owner'].token}\r\nidempotency-key: {key}\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
