"""Who may do what with whose: every route, asked by everybody, about one's own thing, another's, and none.

A new route without an entry in RULES fails. Whoever is refused leaves the rows as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest
from msgspec import Struct

from journeys.api_shop import PASSWORD, YUAN, ApiShop, Route, api_shop, problem, routes_of_the_app

ASKERS = ("nobody", "owner", "other", "merchant", "rival", "courier", "support", "admin")
"""In this order the expected statuses stand below. The owner's thing is the merchant's where merchants own such."""

Thing = Callable[[ApiShop, str], str]
Body = Callable[[ApiShop, str, str], object]
"""Of the shop, the thing's id, and who asks."""


class Rule(Struct, frozen=True):
    """`own` and `others`: the statuses of each asker about the first's and about the second's thing.

    About ids that are none everybody with the role for the route gets 400, and 404 about ids of nothing.
    """

    own: str
    others: str = ""
    thing: Thing | None = None
    owners: tuple[str, str] = ("owner", "other")
    body: Body | None = None


# --- things -----------------------------------------------------------------------------------------------------


def an_order(shop: ApiShop, who: str) -> str:
    return shop.order(who)["id"]


def a_payment(shop: ApiShop, who: str) -> str:
    return shop.payment(shop.order(who), who)["id"]


def an_address(shop: ApiShop, who: str) -> str:
    return shop.post("/v1/me/addresses", who, ADDRESS)["id"]


def a_sale(shop: ApiShop, who: str) -> str:
    return shop.sale(who)["id"]


def a_product(shop: ApiShop, who: str) -> str:
    return shop.product(who)["id"]


def a_draft(shop: ApiShop, who: str) -> str:
    return shop.post("/v1/products", who, product(shop, "", who))["id"]


def a_sku(shop: ApiShop, who: str) -> str:
    return shop.product(who)["skus"][0]["id"]


ADDRESS = {"recipient": "Ann", "phone": "+86 10 1234", "country": "CN", "city": "北京", "street": "长安街 1"}
MERCHANTS = ("merchant", "rival")

# --- bodies -----------------------------------------------------------------------------------------------------


def product(shop: ApiShop, _id: str, _who: str) -> object:
    sku = {"code": f"OWN-{shop.key()}", "price": {"amount": 1, "currency": YUAN}}
    return {"title": {"en": "x"}, "category": "tea", "skus": [sku]}


def brand(shop: ApiShop, product_id: str, who: str) -> object:
    found = shop.ask("GET", f"/v1/products/{product_id}", "admin").json()
    return {"version": found.get("version", 1), "brand": who}


def terms(shop: ApiShop, sku_id: str, _who: str) -> object:
    return shop.sale_body(sku_id)


def registration(_shop: ApiShop, _id: str, who: str) -> object:
    return {"email": f"{who}-two@example.org", "password": PASSWORD, "name": who}


def log_in(_shop: ApiShop, _id: str, who: str) -> object:
    return {"email": f"{who}-none@example.org", "password": PASSWORD}


def refresh(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"refresh_token": "x" * 43}


def address(_shop: ApiShop, _id: str, _who: str) -> object:
    return ADDRESS


def forced(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"forced": "auto"}


def one_unit(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"quantity": 1}


def the_total(shop: ApiShop, order_id: str, _who: str) -> object:
    found = shop.ask("GET", f"/v1/orders/{order_id}", "admin").json()
    return {"amount": found.get("total", {"amount": 1, "currency": YUAN})}


# --- rules ------------------------------------------------------------------------------------------------------

ALL = "200 200 200 200 200 200 200 200"
ANYBODY_LOGGED_IN = "401 200 200 200 200 200 200 200"

#                                                        nobody owner other merchant rival courier support admin
RULES: dict[str, Rule] = {
    "GET /healthz": Rule(ALL),
    "GET /readyz": Rule(ALL),
    "GET /docs": Rule(ALL),
    "GET /openapi.json": Rule(ALL),
    "GET /problems": Rule(ALL),
    "GET /problems/{slug}": Rule(ALL, ALL, lambda _shop, who: {"owner": "sold-out", "other": "conflict"}[who]),
    "GET /v1/admin/breakers": Rule("401 403 403 403 403 403 403 200"),
    "PUT /v1/admin/breakers/{neighbour}": Rule(
        "401 403 403 403 403 403 403 200",
        "401 403 403 403 403 403 403 404",
        lambda _shop, who: {"owner": "payments.simulator", "other": "nobody"}[who],
        body=forced,
    ),
    "POST /v1/accounts": Rule("201 201 201 201 201 201 201 201", body=registration),
    "POST /v1/sessions": Rule("401 401 401 401 401 401 401 401", body=log_in),
    "POST /v1/sessions/refresh": Rule("401 401 401 401 401 401 401 401", body=refresh),
    "POST /v1/sessions/logout": Rule("204 204 204 204 204 204 204 204", body=refresh),
    "GET /v1/me": Rule(ANYBODY_LOGGED_IN),
    "GET /v1/me/addresses": Rule(ANYBODY_LOGGED_IN),
    "POST /v1/me/addresses": Rule("401 201 201 201 201 201 201 201", body=address),
    "DELETE /v1/me/addresses/{address_id}": Rule(
        "401 204 404 404 404 404 404 404", "401 404 204 404 404 404 404 404", an_address
    ),
    "GET /v1/categories": Rule(ALL),
    "GET /v1/products": Rule(ALL),
    "GET /v1/products/{product_id}": Rule(
        "404 404 404 200 404 404 404 200", "404 404 404 404 200 404 404 200", a_draft, MERCHANTS
    ),
    "POST /v1/products": Rule("401 403 403 201 201 403 403 201", body=product),
    "PATCH /v1/products/{product_id}": Rule(
        "401 403 403 200 403 403 403 200", "401 403 403 403 200 403 403 200", a_product, MERCHANTS, brand
    ),
    "GET /v1/sales": Rule(ALL),
    "GET /v1/sales/{sale_id}": Rule(ALL, ALL, a_sale, MERCHANTS),
    "POST /v1/sales": Rule(
        "401 403 403 201 403 403 403 201", "401 403 403 403 201 403 403 201", a_sku, MERCHANTS, terms
    ),
    "POST /v1/sales/{sale_id}/open": Rule(
        "401 403 403 200 403 403 403 200", "401 403 403 403 200 403 403 200", a_sale, MERCHANTS
    ),
    "POST /v1/sales/{sale_id}/close": Rule(
        "401 403 403 200 403 403 403 200", "401 403 403 403 200 403 403 200", a_sale, MERCHANTS
    ),
    "POST /v1/sales/{sale_id}/claims": Rule(
        "401 201 201 201 201 201 201 201", "401 201 201 201 201 201 201 201", a_sale, MERCHANTS, one_unit
    ),
    "GET /v1/claims/{order_id}": Rule("401 200 404 404 404 404 404 404", "401 404 200 404 404 404 404 404", an_order),
    "GET /v1/orders": Rule(ANYBODY_LOGGED_IN),
    "GET /v1/orders/{order_id}": Rule("401 200 404 404 404 404 200 200", "401 404 200 404 404 404 200 200", an_order),
    "POST /v1/orders/{order_id}/cancel": Rule(
        "401 200 404 404 404 404 200 200", "401 404 200 404 404 404 200 200", an_order
    ),
    "POST /v1/orders/{order_id}/payments": Rule(
        "401 201 404 404 404 404 404 404", "401 404 201 404 404 404 404 404", an_order, body=the_total
    ),
    "GET /v1/payments/{payment_id}": Rule(
        "401 200 404 404 404 404 200 200", "401 404 200 404 404 404 200 200", a_payment
    ),
    "POST /v1/payments/webhooks/{provider}": Rule(
        "400 400 400 400 400 400 400 400",
        "404 404 404 404 404 404 404 404",
        lambda _shop, who: {"owner": "simulator", "other": "nobody"}[who],
        body=one_unit,
    ),
}
FREE_TEXT = {"slug", "provider", "neighbour"}
"""Parameters that are no ids: what is unknown is not found, whatever it looks like."""
JUNK = ("abc", "-1", str(2**63), "1%00")
NOBODYS = ("0", "1", str(2**63 - 1))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("ownership"), with_payments=True) as shop:
        yield shop


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Route]:
    return {str(route): route for route in routes_of_the_app(tmp_path_factory.mktemp("routes"))}


def test_every_route_has_a_rule(routes: dict[str, Route]):
    assert set(routes) == set(RULES)


@pytest.mark.parametrize("name", RULES)
def test_who_may(shop: ApiShop, name: str):
    rule = RULES[name]
    targets = [(rule.own, rule.thing(shop, rule.owners[0]) if rule.thing else "")]
    if rule.thing is not None:
        targets.append((rule.others, rule.thing(shop, rule.owners[1])))
        shop.settle()
    cases = [
        (who, int(status), thing)
        for statuses, thing in targets
        for who, status in zip(ASKERS, statuses.split(), strict=True)
    ]
    # First those who are refused, then those who are not: they may change what is asked about.
    with shop.unchanged(besides="accounts.password_guesses"):
        for who, status, thing in cases:
            if status >= 400:
                response = ask(shop, name, rule, who, thing)
                assert problem(response)[0] == status, f"{who} about {thing}: {response.text}"
    for who, status, thing in cases:
        if status < 400:
            response = ask(shop, name, rule, who, thing)
            assert response.status_code == status, f"{who} about {thing}: {response.text}"
    if not name.startswith("GET"):
        shop.settle()


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.thing is not None])
def test_nobody_learns_anything_about_what_does_not_exist(shop: ApiShop, routes: dict[str, Route], name: str):
    rule, roles = RULES[name], routes[name].roles
    free_text = any(f"{{{parameter}}}" in name for parameter in FREE_TEXT)
    assert roles is not None
    with shop.unchanged():
        for who in ASKERS:
            for thing in (*JUNK, *NOBODYS):
                if who == "nobody" and roles:
                    expected = 401
                elif roles and shop.role_of(who) not in roles:
                    expected = 403
                elif free_text or (thing in NOBODYS):
                    expected = 404
                else:
                    expected = 400
                response = ask(shop, name, rule, who, thing)
                assert problem(response)[0] == expected, f"{who} about {thing}: {response.text}"


def ask(shop: ApiShop, name: str, rule: Rule, who: str, thing: str) -> httpx.Response:
    method, _, path = name.partition(" ")
    if "{" in path:
        path = path.partition("{")[0] + thing + path.partition("}")[2]
    body = rule.body(shop, thing, who) if rule.body is not None else None
    return shop.ask(method, path, None if who == "nobody" else who, body, shop.key())
