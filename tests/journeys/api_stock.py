"""What a shop holds before anybody is rude to it, and every route that takes a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
from msgspec import Struct

from journeys.api_shop import PASSWORD, YUAN, ApiShop, eventually, problem

PRICE = {"amount": 990, "currency": YUAN}
ADDRESS = {"recipient": "Ann", "phone": "+86 10 1234", "country": "CN", "city": "北京", "street": "长安街 1"}
ACCOUNT = {"email": "new@example.org", "password": PASSWORD, "name": "New"}
MALFORMED = (400, "malformed-json")
INVALID = (400, "invalid-body")
NOT_HTTP = (400, "malformed-http")
INVALID_ID = (400, "invalid-id")

Refusals = list[tuple[str, httpx.Response, Sequence[tuple[int, str]]]]
"""What was tried, the answer, and the problems that it may be."""


class Taker(Struct, frozen=True):
    """A route that takes a body, and a body that it would take."""

    method: str
    path: str
    who: str | None
    body: dict[str, Any]
    keyed: bool = True


class Stock(Struct, frozen=True):
    """What the shop holds before anybody is rude to it."""

    product: dict[str, Any]
    open_sale: dict[str, Any]
    scheduled_sale: dict[str, Any]
    closed_sale: dict[str, Any]
    order: dict[str, Any]
    address: dict[str, Any]

    @property
    def ids(self) -> dict[str, str]:
        return {
            "product_id": self.product["id"],
            "sale_id": self.open_sale["id"],
            "order_id": self.order["id"],
            "address_id": self.address["id"],
        }

    def takers(self, shop: ApiShop) -> list[Taker]:
        ids, sku = self.ids, self.product["skus"][0]
        draft = {key: self.product[key] for key in ("title", "category", "brand", "media", "status")}
        skus = [{"code": "NEW", "price": PRICE}]
        return [
            Taker("POST", f"/v1/sales/{ids['sale_id']}/claims", "owner", {"quantity": 1}),
            Taker("POST", "/v1/accounts", None, ACCOUNT),
            Taker("POST", "/v1/sessions", None, {"email": "a@example.org", "password": PASSWORD}, keyed=False),
            Taker("POST", "/v1/sessions/refresh", None, {"refresh_token": "x" * 43}, keyed=False),
            Taker("POST", "/v1/sessions/logout", None, {"refresh_token": "x" * 43}, keyed=False),
            Taker("POST", "/v1/me/addresses", "owner", ADDRESS),
            Taker("POST", "/v1/products", "merchant", {**draft, "skus": skus}),
            Taker("PATCH", f"/v1/products/{ids['product_id']}", "merchant", {"version": 1, "brand": "x"}, keyed=False),
            Taker("POST", "/v1/sales", "merchant", shop.sale_body(sku["id"])),
            Taker("POST", f"/v1/orders/{ids['order_id']}/payments", "owner", {"amount": self.order["total"]}),
        ]


def stocked(shop: ApiShop) -> Stock:
    """Fills the shop, and waits until it has come to rest."""
    closed = shop.sale()
    shop.post(f"/v1/sales/{closed['id']}/close", "merchant", None, 200)
    stock_of = f"/v1/stock?sku_id={closed['sku_id']}"
    eventually(lambda: shop.get(stock_of, "merchant")["warehouses"][0]["allotted"] == 0, "the rest is back in stock")
    stock = Stock(
        product=shop.product(),
        open_sale=shop.sale(limit_per_customer=10),
        scheduled_sale=shop.sale(opens_at="2900-01-01T00:00:00Z"),
        closed_sale=closed,
        order=shop.order("owner"),
        address=shop.post("/v1/me/addresses", "owner", ADDRESS),
    )
    shop.settle()
    return stock


def send(shop: ApiShop, taker: Taker, body: object, headers: dict[str, Any] | None = None) -> httpx.Response:
    """A request with a key of its own if the route wants one."""
    return shop.ask(taker.method, taker.path, taker.who, body, shop.key() if taker.keyed else None, headers)


def assert_refused(refusals: Refusals) -> None:
    """Every answer is a problem, and one of those expected of it."""
    surprises = {
        name: (response.status_code, response.text[:300])
        for name, response, expected in refusals
        if response.is_success or problem(response) not in expected
    }
    assert surprises == {}
