"""Ids, pages, methods and keys that are none, and what the shop knows better. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from journeys.api_shop import ApiShop, api_shop, empty_database, good, problem
from journeys.api_stock import (
    ACCOUNT,
    ADDRESS,
    INVALID_ID,
    NOT_HTTP,
    PRICE,
    Refusals,
    Stock,
    assert_refused,
    stocked,
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    folder = tmp_path_factory.mktemp("bad-requests")
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


JUNK_IDS = (
    "abc",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "0x10",
    "1 ",
    " 1",
    "1'--",
    "1\x00",
    "\x00",
    "1\n",
    "١٢٣",
    "１２３",
    "²",
    "9" * 20,
    str(2**63),
    "9" * 5000,
    "true",
    "[]",
    "%",
    "{sale_id}",
    "\ud800",
)
NOBODYS_IDS = ("0", "1", "0000000000000000001", str(2**63 - 1))

BY_ID: tuple[tuple[str, str, str | None, str, Any], ...] = (
    ("GET", "/v1/products/{}", None, "product-not-found", None),
    ("PATCH", "/v1/products/{}", "merchant", "product-not-found", {"version": 1, "brand": "x"}),
    ("GET", "/v1/sales/{}", None, "sale-not-found", None),
    ("POST", "/v1/sales/{}/open", "merchant", "sale-not-found", None),
    ("POST", "/v1/sales/{}/close", "merchant", "sale-not-found", None),
    ("POST", "/v1/sales/{}/claims", "owner", "sale-not-found", {"quantity": 1}),
    ("GET", "/v1/claims/{}", "owner", "claim-not-found", None),
    ("GET", "/v1/orders/{}", "owner", "order-not-found", None),
    ("POST", "/v1/orders/{}/cancel", "owner", "order-not-found", None),
    ("POST", "/v1/orders/{}/payments", "owner", "order-not-found", {"amount": PRICE}),
    ("GET", "/v1/payments/{}", "owner", "payment-not-found", None),
    ("DELETE", "/v1/me/addresses/{}", "owner", "address-not-found", None),
)


def test_ids_that_are_none_or_nobodys(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        refusals: Refusals = []
        for method, path, who, slug, body in BY_ID:
            for junk in JUNK_IDS:
                at = path.format(quote(junk, safe="", errors="surrogatepass"))
                refusals.append((f"{method} {at[:80]}", shop.ask(method, at, who, body, shop.key()), [INVALID_ID]))
            for nobodys in NOBODYS_IDS:
                at = path.format(nobodys)
                refusals.append((f"{method} {at}", shop.ask(method, at, who, body, shop.key()), [(404, slug)]))
        assert_refused(refusals)


def test_empty_ids_and_addresses_that_lead_nowhere(shop: ApiShop, stock: Stock):
    nowhere = [(404, "route-not-found"), (405, "method-not-allowed")]
    paths = ["/", "/v1", "/v1/orders//cancel", "/v1/orders//payments", "/v1/sales//claims", "/v1/sales/1/2/claims"]
    paths += ["/v1/sales/claims", "/v1/me/addresses/1/2", "/v1/../etc/passwd", "/v1/%2e%2e/docs", "/%00", "/%FF%FE"]
    paths += ["/V1/sales", "/unused-framework-documentation", "/schema", "/schema/openapi.json"]
    with shop.unchanged():
        refusals: Refusals = []
        for path in paths:
            for method in ("POST", "DELETE"):
                response = shop.ask(method, path, "owner", {"quantity": 1}, shop.key())
                refusals.append((f"{method} {path}", response, nowhere))
        assert_refused(refusals)


def test_another_method(shop: ApiShop, stock: Stock):
    ids = stock.ids
    routes = {
        "/v1/accounts": {"POST"},
        "/v1/products": {"GET", "POST"},
        f"/v1/products/{ids['product_id']}": {"GET", "PATCH"},
        f"/v1/sales/{ids['sale_id']}/claims": {"POST"},
        f"/v1/orders/{ids['order_id']}": {"GET"},
        f"/v1/me/addresses/{ids['address_id']}": {"DELETE"},
        "/healthz": {"GET"},
    }
    with shop.unchanged():
        for path, takes in routes.items():
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - takes:
                response = shop.ask(method, path, "owner", {"quantity": 1}, shop.key())
                assert problem(response) == (405, "method-not-allowed"), f"{method} {path}"
                assert set(response.headers["allow"].split(", ")) - {"OPTIONS", "HEAD"} == takes


def test_cursors_and_limits_that_the_shop_did_not_give_out(shop: ApiShop, stock: Stock):
    cursors = ["", "x", "A" * 10, "A" * 12, "AAAAAAAAAA*", "AAAAAAAAAAB", "__________8", "a" * 5000, "%00", "%FF", "日"]
    limits = ["0", "-1", "101", "1" * 400]
    mistyped = ["", "x", "1.5", "true", "null", "0x1", "1 1", "%FF", "%00", "1" * 5000]
    with shop.unchanged():
        refusals: Refusals = []
        for path, who in (("/v1/products", None), ("/v1/sales", None), ("/v1/orders", "owner")):
            for cursor in cursors:
                response = shop.ask("GET", f"{path}?cursor={cursor}", who)
                refusals.append((f"{path} cursor {cursor!r:.40}", response, [(400, "bad-cursor")]))
            for limit in limits:
                response = shop.ask("GET", f"{path}?limit={limit}", who)
                refusals.append(
                    (f"{path} limit {limit:.40}", response, [(400, "bad-limit"), (400, "invalid-parameter")])
                )
            for limit in mistyped:
                response = shop.ask("GET", f"{path}?limit={limit}", who)
                refusals.append((f"{path} limit {limit!r:.40}", response, [(400, "invalid-parameter")]))
        assert_refused(refusals)


def test_idempotency_keys_that_are_missing_or_none(shop: ApiShop, stock: Stock):
    bad_keys: tuple[Any, ...] = ("", "a b", "k" * 65, "ключ".encode(), b"\xff", "tab\there", "\x7f")
    with shop.unchanged():
        refusals: Refusals = []
        for taker in stock.takers(shop):
            if not taker.keyed:
                continue
            missing = shop.ask(taker.method, taker.path, taker.who, taker.body)
            refusals.append((taker.path, missing, [(400, "idempotency-key-missing")]))
            for key in bad_keys:
                headers = {"Idempotency-Key": key}
                response = shop.ask(taker.method, taker.path, taker.who, taker.body, headers=headers)
                refusals.append((f"{taker.path} {key!r}", response, [(400, "idempotency-key-invalid"), NOT_HTTP]))
        assert_refused(refusals)


def test_a_key_used_again_gets_the_same_answer_or_is_refused(shop: ApiShop, stock: Stock):
    sale_id, sku_id = stock.open_sale["id"], shop.sku_in_stock()
    product = {"title": {"en": "x"}, "category": "tea", "skus": [{"code": "AGAIN", "price": PRICE}]}
    created: list[tuple[str, str | None, dict[str, Any], dict[str, Any]]] = [
        (f"/v1/sales/{sale_id}/claims", "owner", {"quantity": 1}, {"quantity": 2}),
        ("/v1/me/addresses", "owner", ADDRESS, {**ADDRESS, "city": "上海"}),
        ("/v1/products", "merchant", product, {**product, "brand": "other"}),
        ("/v1/sales", "merchant", shop.sale_body(sku_id), shop.sale_body(sku_id, units=11)),
        ("/v1/accounts", None, ACCOUNT, {**ACCOUNT, "name": "Other"}),
    ]
    first = [shop.ask("POST", path, who, body, "again") for path, who, body, _ in created]
    shop.settle()
    # Who asks for a registration again proves to know its password, and that is counted like a log-in.
    with shop.unchanged(besides="accounts.password_guesses"):
        for (path, who, body, other), answer in zip(created, first, strict=True):
            good(answer, 201)
            again = shop.ask("POST", path, who, body, "again")
            if path == "/v1/sales":  # the sale as it stands: its server_time goes on
                assert {**again.json(), "server_time": ""} == {**answer.json(), "server_time": ""}
            else:
                assert (again.status_code, again.content) == (201, answer.content), path
            reused = shop.ask("POST", path, who, other, "again")
            assert problem(reused) == (422, "idempotency-key-reused"), path
    # A key is its owner's: somebody else's request with the same key is another request.
    theirs = good(shop.ask("POST", f"/v1/sales/{sale_id}/claims", "other", {"quantity": 1}, "again"), 201)
    assert theirs["order_id"] != first[0].json()["order_id"]
    shop.settle()


def test_sales_that_are_not_open(shop: ApiShop, stock: Stock):
    with shop.unchanged():
        for sale in (stock.scheduled_sale, stock.closed_sale):
            response = shop.ask("POST", f"/v1/sales/{sale['id']}/claims", "owner", {"quantity": 1}, shop.key())
            assert problem(response) == (409, "sale-not-open")


def test_more_units_than_there_are_or_than_one_may_have(shop: ApiShop, stock: Stock):
    small = shop.sale(units=1, limit_per_customer=3)
    shop.settle()
    path = f"/v1/sales/{small['id']}/claims"
    with shop.unchanged():
        assert problem(shop.ask("POST", path, "owner", {"quantity": 2}, shop.key())) == (409, "sold-out")
        assert problem(shop.ask("POST", path, "owner", {"quantity": 4}, shop.key())) == (409, "limit-reached")
