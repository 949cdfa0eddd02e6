"""A shopper's whole way through the shop over real HTTP, on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from journeys.api_shop import PASSWORD, YUAN, ApiShop, eventually, good, problem, shop_on

ADDRESS = {
    "recipient": "Ann 安",
    "phone": "+86 10 1234 5678",
    "country": "CN",
    "city": "北京",
    "street": "长安街 1",
    "postcode": "100000",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with shop_on(request, tmp_path_factory.mktemp("journey")) as shop:
        yield shop


def log_in(shop: ApiShop, email: str, password: str = PASSWORD) -> dict[str, Any]:
    tokens = good(shop.ask("POST", "/v1/sessions", body={"email": email, "password": password}), 201)
    assert tokens["token_type"] == "Bearer"
    return tokens


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


def test_from_registration_to_a_paid_order_and_its_refund(shop: ApiShop):
    # The shop has an admin, made on the command line.
    tokens = log_in(shop, hire_admin(shop))
    admin = bearer(tokens)

    # A visitor becomes a customer; asking twice with the same key makes one account.
    registration = {"email": "Ann@Example.org", "password": PASSWORD, "name": "Ann"}
    first = shop.ask("POST", "/v1/accounts", body=registration, key="ann")
    again = shop.ask("POST", "/v1/accounts", body=registration, key="ann")
    account = good(first, 201)
    assert (again.status_code, again.content) == (201, first.content)
    assert (account["email"], account["role"]) == ("ann@example.org", "customer")
    ann = bearer(log_in(shop, "ann@example.org"))
    assert good(shop.ask("GET", "/v1/me", headers=ann), 200) == account

    # Addresses.
    added = good(shop.ask("POST", "/v1/me/addresses", body=ADDRESS, key="home", headers=ann), 201)
    spare = good(shop.ask("POST", "/v1/me/addresses", body=ADDRESS, key="spare", headers=ann), 201)
    assert added.items() >= ADDRESS.items()
    good(shop.ask("DELETE", f"/v1/me/addresses/{spare['id']}", headers=ann), 204)
    assert good(shop.ask("GET", "/v1/me/addresses", headers=ann), 200)["items"] == [added]

    # The admin publishes a product and a sale of it; everybody sees both.
    product = good(shop.ask("POST", "/v1/products", body=a_product(), key="tray", headers=admin), 201)
    listed = shop.get("/v1/products?limit=100&category=journeys")
    assert [item["id"] for item in listed["items"]] == [product["id"]]
    assert {"slug": "journeys"} in shop.get("/v1/categories")["items"]
    sku_id = product["skus"][0]["id"]
    receipt = {"lines": [{"sku_id": sku_id, "quantity": 3}]}
    good(shop.ask("POST", "/v1/stock/receipts", body=receipt, key="goods", headers=admin), 201)
    terms = shop.sale_body(sku_id, units=3, limit_per_customer=2)
    sale = good(shop.ask("POST", "/v1/sales", body=terms, key="sale", headers=admin), 201)
    shown = shop.get(f"/v1/sales/{sale['id']}")
    assert (shown["state"], shown["units"], shown["units_left"]) == ("open", 3, 3)
    assert sale["id"] in [item["id"] for item in shop.get("/v1/sales")["items"]]

    # A claim; its order is there at once.
    claims = f"/v1/sales/{sale['id']}/claims"
    claim = good(shop.ask("POST", claims, body={"quantity": 2}, key="c1", headers=ann), 201)
    assert claim["total"] == {"amount": 1980, "currency": YUAN}
    order = good(shop.ask("GET", f"/v1/orders/{claim['order_id']}", headers=ann), 200)
    assert (order["status"], order["total"], order["pay_by"]) == ("pending_payment", claim["total"], claim["pay_by"])
    assert good(shop.ask("GET", f"/v1/claims/{order['id']}", headers=ann), 200) == claim
    too_many = shop.ask("POST", claims, body={"quantity": 1}, key="c2", headers=ann)
    assert problem(too_many) == (409, "limit-reached")

    # Paying, and what becomes of the order.
    payments = f"/v1/orders/{order['id']}/payments"
    payment = good(shop.ask("POST", payments, body={"amount": order["total"]}, key="p1", headers=ann), 201)
    assert payment["status"] == "pending"
    shop.pay(payment)
    wait_for(shop, order, ann, "paid")
    paid = good(shop.ask("GET", f"/v1/orders/{order['id']}", headers=ann), 200)
    assert paid["payment_id"] == payment["id"]
    assert [move["to"] for move in paid["history"]] == ["pending_payment", "paid"]
    assert good(shop.ask("GET", f"/v1/payments/{payment['id']}", headers=ann), 200)["status"] == "captured"
    mine = good(shop.ask("GET", "/v1/orders", headers=ann), 200)["items"]
    assert [(item["id"], item["status"]) for item in mine] == [(order["id"], "paid")]
    twice = shop.ask("POST", payments, body={"amount": order["total"]}, key="p2", headers=ann)
    assert problem(twice) == (409, "order-not-payable")

    # A change of mind: the money goes back, and the units too.
    cancelled = good(shop.ask("POST", f"/v1/orders/{order['id']}/cancel", headers=ann), 200)
    assert cancelled["status"] in ("refunding", "refunded")
    wait_for(shop, order, ann, "refunded")
    eventually(lambda: shop.get(f"/v1/sales/{sale['id']}")["units_left"] == 3, "the units come back")
    refunded = good(shop.ask("GET", f"/v1/orders/{order['id']}", headers=ann), 200)
    assert [move["to"] for move in refunded["history"]] == ["pending_payment", "paid", "refunding", "refunded"]
    released = good(shop.ask("GET", f"/v1/claims/{order['id']}", headers=ann), 200)
    assert (released["released"], released["state"]) == (True, "released")

    # The admin closes the sale.
    closed = good(shop.ask("POST", f"/v1/sales/{sale['id']}/close", headers=admin), 200)
    assert closed["state"] == "closed"
    refused = shop.ask("POST", claims, body={"quantity": 1}, key="c3", headers=ann)
    assert problem(refused) == (409, "sale-not-open")


def test_an_unpaid_order_can_be_cancelled_and_bought_again(shop: ApiShop):
    sale = shop.sale(units=1, limit_per_customer=1)
    order = shop.order("owner", sale["id"])
    sold_out = shop.ask("POST", f"/v1/sales/{sale['id']}/claims", "other", {"quantity": 1}, key="late")
    assert problem(sold_out) == (409, "sold-out")

    assert shop.post(f"/v1/orders/{order['id']}/cancel", "owner", None, 200)["status"] == "cancelled"

    eventually(lambda: shop.get(f"/v1/sales/{sale['id']}")["units_left"] == 1, "the unit comes back")
    # Refusals bind no key: the same one succeeds after the refill.
    late = shop.ask("POST", f"/v1/sales/{sale['id']}/claims", "other", {"quantity": 1}, key="late")
    assert good(late, 201)["quantity"] == 1


def test_refresh_tokens_rotate_and_a_stolen_one_ends_the_session(shop: ApiShop):
    shop.post("/v1/accounts", None, {"email": "bob@example.org", "password": PASSWORD, "name": "Bob"})
    first = log_in(shop, "bob@example.org")

    second = good(shop.ask("POST", "/v1/sessions/refresh", body=refresh(first)), 200)
    assert second["refresh_token"] != first["refresh_token"]
    good(shop.ask("GET", "/v1/me", headers=bearer(second)), 200)

    stolen = shop.ask("POST", "/v1/sessions/refresh", body=refresh(first))
    assert problem(stolen) == (401, "invalid-refresh-token")
    orphan = shop.ask("POST", "/v1/sessions/refresh", body=refresh(second))
    assert problem(orphan) == (401, "invalid-refresh-token")


def test_after_logging_out_a_session_cannot_be_refreshed(shop: ApiShop):
    shop.post("/v1/accounts", None, {"email": "eve@example.org", "password": PASSWORD, "name": "Eve"})
    tokens = log_in(shop, "eve@example.org")

    good(shop.ask("POST", "/v1/sessions/logout", body=refresh(tokens)), 204)

    refused = shop.ask("POST", "/v1/sessions/refresh", body=refresh(tokens))
    assert problem(refused) == (401, "invalid-refresh-token")


def test_lists_go_on_where_they_ended(shop: ApiShop):
    sale = shop.sale(units=5)
    made = [shop.claim(sale["id"], "other")["order_id"] for _ in range(5)]
    for order_id in made:
        shop.get(f"/v1/orders/{order_id}", "other")

    seen: list[str] = []
    path = "/v1/orders?limit=2"
    for _ in range(20):
        page = shop.get(path, "other")
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        path = f"/v1/orders?limit=2&cursor={page['next_cursor']}"

    assert [order_id for order_id in seen if order_id in made] == made[::-1]
    assert len(seen) == len(set(seen))


def test_an_answer_names_its_request_and_the_log_has_the_name(shop: ApiShop):
    given = shop.ask("GET", "/healthz", headers={"X-Request-Id": "mobile.app-42_x"})
    assert given.headers["x-request-id"] == "mobile.app-42_x"

    for bad in ("", "a b", "x" * 65, "<script>", "-first", "日".encode()):
        made = shop.ask("GET", "/healthz", headers={"X-Request-Id": bad})  # type: ignore[dict-item]
        assert made.headers["x-request-id"] not in ("", bad)

    # A callback of a kind that nothing is done about is logged.
    notice = b'{"id":"evt_1","type":"payout.created"}'
    shop.call_back(notice, headers={"X-Request-Id": "provider-7"})
    told = [line["request_id"] for line in shop.logged() if line["event"] == "callback that we do nothing about"]
    assert told == ["provider-7"]

    numbers = [shop.ask("GET", "/healthz").headers["x-request-id"] for _ in range(3)]
    assert len(set(numbers)) == 3


def hire_admin(shop: ApiShop) -> str:
    email = "boss@example.org"
    command = [sys.executable, "-m", "doorbuster", "staff", "create", email, "--data", shop.settings.data, "--json"]
    if shop.settings.database.url:
        command += ["--database", shop.settings.database.url]
    environment = {**os.environ, "DOORBUSTER_STAFF_PASSWORD": PASSWORD}
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    return email


def wait_for(shop: ApiShop, order: dict[str, Any], who: dict[str, str], status: str) -> None:
    def reached() -> bool:
        return good(shop.ask("GET", f"/v1/orders/{order['id']}", headers=who), 200)["status"] == status

    eventually(reached, f"the order becomes {status}")


def refresh(tokens: dict[str, Any]) -> dict[str, str]:
    return {"refresh_token": tokens["refresh_token"]}


def a_product() -> dict[str, Any]:
    sku = {"code": "JOURNEY-1", "price": {"amount": 1990, "currency": YUAN}}
    return {"title": {"en": "Tray", "zh": "茶盘"}, "category": "journeys", "status": "active", "skus": [sku]}
