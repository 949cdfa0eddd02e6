"""The API application: the contexts' routes, health, documentation; what it refuses are problems."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from litestar import Litestar, Response, get, route
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from doorbuster import __version__
from doorbuster.edge.asyncapi import event_document
from doorbuster.edge.documentation import documentation_routes
from doorbuster.edge.json_request import JsonRequest
from doorbuster.edge.openapi import complete_document
from doorbuster.edge.problem_pages import problem_routes
from doorbuster.edge.refusals import HANDLERS, allowed
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import AnyRequest, allow, public
from doorbuster.platform.http.live import LiveRoute
from doorbuster.platform.http.problems import UpgradeRequired
from doorbuster.platform.http.raw import RawRoute

Ready = Callable[[], Awaitable[Sequence[str]]]
"""Says what is not ready, in words; nothing when all is."""


class Health(Struct, frozen=True):
    status: str = "ok"


def build_api(
    routes: Sequence[ControllerRouterHandler],
    raw_routes: Sequence[RawRoute],
    ready: Ready,
    live_routes: Sequence[LiveRoute] = (),
) -> Litestar:
    """Everything behind the door. Raw and live routes are only documented here; the door answers them."""

    def describe() -> tuple[dict[str, Any], dict[str, Any]]:
        return complete_document(_described(handlers), app, raw_routes), event_document(routes, live_routes)

    handlers = [
        *routes,
        *(_plain_request(route) for route in live_routes),
        *_health_routes(ready),
        *documentation_routes(describe),
        *problem_routes(),
    ]
    app = Litestar(
        route_handlers=[*_options_routes(handlers), *handlers],
        request_class=JsonRequest,
        exception_handlers=HANDLERS,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    return app


def _plain_request(live: LiveRoute) -> ControllerRouterHandler:
    """What a WebSocket address answers to a request that does not ask for one."""
    path = re.sub(r"{(\w+)}", r"{\1:str}", live.path)
    words = f"A WebSocket, see docs/live.md; a plain request is answered 426. {live.description}".strip()

    @get(path, guards=[allow(*live.roles)], tags=list(live.tags), summary=live.summary, description=words)
    async def plain_request(request: AnyRequest) -> None:
        for name, text in request.path_params.items():
            if name.endswith("_id"):
                parse_id(text)
        raise UpgradeRequired

    return plain_request


def _options_routes(handlers: Sequence[ControllerRouterHandler]) -> list[ControllerRouterHandler]:
    """What each address takes. The framework's own answer forgets methods of handlers that share an address."""
    methods: dict[str, set[str]] = {}
    for handler in cast("Sequence[HTTPRouteHandler]", handlers):
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(handler.http_methods)
    return [_options_route(path, allowed(taken)) for path, taken in methods.items()]


def _options_route(path: str, allow: str) -> ControllerRouterHandler:
    @route(path, http_method=["OPTIONS"], status_code=204, guards=[public], include_in_schema=False)
    async def options() -> Response[None]:
        return Response(None, headers={"allow": allow})

    return options


def _described(handlers: Sequence[ControllerRouterHandler]) -> dict[str, Any]:
    """The framework's own document of these handlers.

    From an application that nobody reaches: one that can describe itself also serves viewers which load scripts from
    the internet, at addresses that no document lists.
    """
    config = OpenAPIConfig(
        title="Doorbuster",
        version=__version__,
        components=Components(
            security_schemes={"token": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT")}
        ),
    )
    return Litestar(route_handlers=handlers, openapi_config=config, logging_config=None).openapi_schema.to_schema()


def _health_routes(ready: Ready) -> list[ControllerRouterHandler]:
    @get("/healthz", guards=[public], tags=["operation"], summary="The process is alive")
    async def healthz() -> Health:
        return Health()

    @get("/readyz", guards=[public], tags=["operation"], summary="The process can do its work")
    async def readyz() -> Health:
        missing = await ready()
        if missing:
            raise Unavailable(f"not ready: {', '.join(missing)}")
        return Health()

    return [healthz, readyz]
