"""Every route says who may call it, and is in the document for everybody to see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler

from doorbuster.apps.http_app import shedder_of
from doorbuster.apps.shop import Shop, open_shop
from doorbuster.edge.api import build_api
from doorbuster.edge.operations import operation_routes
from doorbuster.kernel.errors import Unauthenticated
from doorbuster.platform.http.faces import allow, public, roles_of
from doorbuster.platform.http.live import LiveRoute
from doorbuster.platform.http.raw import RawRoute
from doorbuster.platform.settings.tree import Settings

Route = tuple[str, str]
"""Method and path with {parameters}."""
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
DOCUMENTATION = {("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/asyncapi.json")}


async def everything_ready() -> Sequence[str]:
    return ()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(Settings(data=str(tmp_path))) as shop:
        yield shop


@pytest.fixture
def raw_routes(shop: Shop) -> list[RawRoute]:
    return [route for context in shop.contexts for route in context.faces().raw_routes]


@pytest.fixture
def live_routes(shop: Shop) -> list[LiveRoute]:
    return [route for context in shop.contexts for route in context.faces().live_routes]


@pytest.fixture
def api(shop: Shop, raw_routes: list[RawRoute], live_routes: list[LiveRoute]) -> Litestar:
    routes = [route for context in shop.contexts for route in context.faces().routes]
    routes += operation_routes(shop.platform.neighbours, shedder_of(shop), shop.catalog.copies)
    return build_api(routes, raw_routes, everything_ready, live_routes)


def handlers_of(api: Litestar) -> list[tuple[Route, HTTPRouteHandler]]:
    return [
        ((method, route.path_format), handler)
        for route in api.routes
        for handler in getattr(route, "route_handlers", [])
        for method in handler.http_methods
    ]


def without_policy(api: Litestar) -> set[Route]:
    return {route for route, handler in handlers_of(api) if roles_of(handler) is None}


async def documented(api: Litestar) -> set[Route]:
    (handler,) = (handler for route, handler in handlers_of(api) if route == ("GET", "/openapi.json"))
    document: Any = msgspec.json.decode((await handler.fn()).content)
    return {
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method.upper() in METHODS
    }


def hidden(routes: Iterable[Route], document: set[Route]) -> set[Route]:
    """Routes that do something and are in no document."""
    return {route for route in routes if route[0] in METHODS} - document - DOCUMENTATION


async def test_every_route_declares_a_policy_and_is_documented(api: Litestar, raw_routes: list[RawRoute]):
    assert without_policy(api) == set()
    routes = {route for route, _ in handlers_of(api)} | {(raw.method, raw.path) for raw in raw_routes}
    assert len(routes) > 30
    document = await documented(api)
    assert hidden(routes, document) == set()
    assert document <= routes, "and nothing is documented that does not exist"


async def test_a_route_without_a_policy_or_outside_the_document_is_noticed():
    @get("/forgotten")
    async def forgotten() -> None: ...

    @get("/hidden", guards=[public], include_in_schema=False)
    async def secret() -> None: ...

    def homemade(*_: object) -> None: ...

    @get("/homemade", guards=[homemade])
    async def own_guard() -> None: ...

    api = build_api([forgotten, secret, own_guard], [], everything_ready)
    assert without_policy(api) == {("GET", "/forgotten"), ("GET", "/homemade")}
    assert hidden((route for route, _ in handlers_of(api)), await documented(api)) == {("GET", "/hidden")}


def test_a_policy_says_which_roles():
    @get("/a", guards=[public])
    async def for_all() -> None: ...

    @get("/b", guards=[allow("merchant", "admin")])
    async def for_some() -> None: ...

    @get("/c", guards=[allow()])
    async def for_anybody_known() -> None: ...

    assert (roles_of(for_all), roles_of(for_some)) == ((), ("merchant", "admin"))
    assert len(roles_of(for_anybody_known) or ()) == 5


async def test_a_live_route_has_the_policy_that_its_document_shows(api: Litestar, live_routes: list[LiveRoute]):
    """Over WebSocket the door asks for its roles itself, as tests/platform/http/test_live_sockets.py shows."""
    shown = {route: roles_of(handler) for route, handler in handlers_of(api)}
    for live in live_routes:
        assert live.roles
        assert shown["GET", live.path] == live.roles


async def test_a_live_route_without_a_policy_cannot_be_made():
    async def serve(*_: object) -> None: ...

    with pytest.raises(ValueError, match="who may open it"):
        LiveRoute("/v1/x", (), serve, "x", ("x",))


async def test_a_raw_route_needs_a_token_and_says_so(raw_routes: list[RawRoute]):
    """It has no guards: what its operation demands is checked by asking without."""
    assert raw_routes
    optional: set[str] = set()
    for raw in raw_routes:
        if {} in raw.operation["security"]:
            optional.add(raw.path)
            continue
        assert raw.operation["security"] == [{"token": []}]
        with pytest.raises(Unauthenticated):
            await raw.answer({"principal": None, "headers": []}, "1", b"{}")
    assert optional == {"/v1/carts"}, "which makes a guest of whoever comes without"
