"""Who may do what with whose: every route, asked by everybody, about one's own thing, another's, and none.

A new route without an entry in rules.RULES fails. Whoever is refused leaves the rows as they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from journeys.api_shop import ApiShop, Route, api_shop, problem, routes_of_the_app
from journeys.rules import ASKERS, RULES, Rule

FREE_TEXT = {"slug", "provider", "key", "neighbour"}
"""Parameters that are no ids: what is unknown is not found, whatever it looks like."""
JUNK = ("abc", "-1", str(2**63), "1%00")
NOBODYS = ("0", "1", str(2**63 - 1))
PARAMETER = re.compile(r"{\w+}")
CALM = {
    "DOORBUSTER_DELIVERY_ROUND_S": "0.05",
    "DOORBUSTER_DELIVERY_LOAD_MAX": "1",
    "DOORBUSTER_DELIVERY_POSITION_EVERY_MS": "0",
    "DOORBUSTER_DELIVERY_POSITION_FRESH_S": "3600",
    "DOORBUSTER_DELIVERY_OFFER_S": "600",
    "DOORBUSTER_DELIVERY_URGENT_AFTER_S": "86400",
    "DOORBUSTER_NOTIFICATIONS_ATTEMPTS_MAX": "1",
    "DOORBUSTER_NOTIFICATIONS_WEBHOOK_LOCAL": "true",
    "DOORBUSTER_SUPPORT_OPEN_PER_CUSTOMER_MAX": "100",
    "DOORBUSTER_SUPPORT_CONVERSATIONS_PER_AGENT_MAX": "100",
    "DOORBUSTER_SUPPORT_ANSWER_WITHIN_S": "86400",
}
"""Nothing happens by itself while rows are compared."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("ownership"), with_payments=True, **CALM) as shop:
        shop.settle()  # welcomes are written to those who were just hired
        yield shop


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Route]:
    return {str(route): route for route in routes_of_the_app(tmp_path_factory.mktemp("routes"))}


def route_of(name: str) -> str:
    """Without the query that some rules name."""
    return name.partition("?")[0]


def test_every_route_has_a_rule(routes: dict[str, Route]):
    assert set(routes) == {route_of(name) for name in RULES}


@pytest.mark.parametrize("name", RULES)
def test_who_may(shop: ApiShop, name: str):
    rule = RULES[name]
    make = rule.thing or (lambda _shop, _owner: "")
    targets = [(rule.own, rule.owners[0], make(shop, rule.owners[0]))]
    if rule.thing is not None:
        targets.append((rule.others, rule.owners[1], make(shop, rule.owners[1])))
        shop.settle()
    cases = [(who, rule.expected(who, winners), owner, thing) for winners, owner, thing in targets for who in ASKERS]
    # First those who are refused, then those who are not: they may change what is asked about.
    with shop.unchanged(besides="accounts.password_guesses"):
        for who, status, _owner, thing in cases:
            if status >= 400:
                response = ask(shop, name, rule, who, thing)
                assert problem(response)[0] == status, f"{who} about {thing}: {response.text}"
    for who, status, owner, thing in cases:
        if status < 400:
            response = ask(shop, name, rule, who, make(shop, owner) if rule.once else thing)
            assert response.status_code == status, f"{who} about {thing}: {response.text}"
    if not name.startswith("GET"):
        shop.settle()


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.thing and rule.unknown])
def test_nobody_learns_anything_about_what_does_not_exist(shop: ApiShop, routes: dict[str, Route], name: str):
    rule, roles = RULES[name], routes[route_of(name)].roles
    free_text = any(f"{{{parameter}}}" in name for parameter in FREE_TEXT)
    assert roles is not None
    with shop.unchanged():
        for who in ASKERS:
            for thing in (*JUNK, *NOBODYS):
                if who not in rule.may.split():
                    expected = 401 if who == "nobody" else 403
                elif free_text or (thing in NOBODYS):
                    expected = rule.unknown
                else:
                    expected = 400
                response = ask(shop, name, rule, who, thing)
                assert problem(response)[0] == expected, f"{who} about {thing}: {response.text}"


def ask(shop: ApiShop, name: str, rule: Rule, who: str, thing: str) -> httpx.Response:
    """`thing` is put where the path has its parameter; one with two of them is "first/second"."""
    method, _, path = name.partition(" ")
    for part in thing.split("/") if "/" in thing else [thing] * 2:
        path = PARAMETER.sub(part, path, count=1)
    assert not urlsplit(path).fragment
    body = rule.body(shop, thing, who) if rule.body is not None else None
    return shop.ask(method, path, None if who == "nobody" else who, body, shop.key())
