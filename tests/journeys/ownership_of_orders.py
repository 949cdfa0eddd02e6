"""Who may do what with an order. It is unpaid, and for the merchant to fulfil."""

from __future__ import annotations

from journeys.api_shop import YUAN, ApiShop
from journeys.ownership import Rule


def an_order(shop: ApiShop, who: str) -> str:
    return shop.order(who)["id"]


def the_total(shop: ApiShop, order_id: str, _who: str) -> object:
    found = shop.ask("GET", f"/v1/orders/{order_id}", "admin").json()
    return {"amount": found.get("total", {"amount": 1, "currency": YUAN})}


def a_home(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"recipient": "Ann", "phone": "+86 10 1234", "country": "CN", "city": "北京", "street": "长安街 1"}


def a_refund(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"amount": 1}


#        nobody owner other merchant rival courier support admin
_SEEN = ("401 200 404 200 404 404 200 200", "401 404 200 200 404 404 200 200", an_order)
_NOT_SENT = ("401 409 404 409 404 404 409 409", "401 404 409 409 404 404 409 409", an_order)
_NOT_PAID = "401 403 403 409 404 403 409 409"

RULES = {
    "GET /v1/orders": Rule("401 200 200 200 200 200 200 200"),
    "GET /v1/orders/{order_id}": Rule(*_SEEN),
    "POST /v1/orders/{order_id}/cancel": Rule(*_SEEN),
    "POST /v1/orders/{order_id}/payments": Rule(
        "401 201 404 404 404 404 404 404", "401 404 201 404 404 404 404 404", an_order, body=the_total
    ),
    "PUT /v1/orders/{order_id}/destination": Rule(
        "401 200 404 404 404 404 404 404", "401 404 200 404 404 404 404 404", an_order, body=a_home
    ),
    "POST /v1/orders/{order_id}/receive": Rule(*_NOT_SENT),
    "POST /v1/orders/{order_id}/refunds": Rule(_NOT_PAID, _NOT_PAID, an_order, body=a_refund),
    "GET /v1/merchant/orders": Rule("401 403 403 200 200 403 200 200"),
}
