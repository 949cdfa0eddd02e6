"""The HTTP application of a shop: every context's faces behind one door."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from doorbuster.apps.shop import Shop
from doorbuster.edge.api import Ready, build_api
from doorbuster.edge.door import Door
from doorbuster.edge.gateway.gateway import Gateway
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.settings import EVERYTHING_LOCAL, GatewaySettings
from doorbuster.edge.live_door import LiveDoor
from doorbuster.edge.operations import operation_routes
from doorbuster.edge.second_look import SecondLook
from doorbuster.platform.fallback import FEATURES
from doorbuster.platform.http.live import Live
from doorbuster.platform.limits.port import Limiter
from doorbuster.platform.shedding import SHEDDING, Shedder


def build_app(
    shop: Shop,
    ready: Ready,
    settings: Callable[[], GatewaySettings] = lambda: EVERYTHING_LOCAL,
    limiters: Mapping[str, Limiter] | None = None,
    shedder: Shedder | None = None,
) -> Gateway:
    """`settings` may say something else at any time; `limiters` are what its plugins can name. `shedder`: the one
    that stands at the server's gate, if there is a server."""
    shedder = shedder or shedder_of(shop)
    door, look = build_door(shop, ready, shedder), SecondLook(shedder)
    ports = Ports(door, shop.ring, shop.platform.clock, limiters or {}, look, random.Random())  # noqa: S311 - draws samples, no secrets
    return Gateway(ports, settings)


def shedder_of(shop: Shop) -> Shedder:
    """Idle, with the limits of the runtime settings."""
    return Shedder(shop.platform.runtime.live(SHEDDING))


def build_door(shop: Shop, ready: Ready, shedder: Shedder) -> Door:
    faces = [context.faces() for context in shop.contexts]
    raw_routes = [route for face in faces for route in face.raw_routes]
    live_routes = [route for face in faces for route in face.live_routes]
    routes = [route for face in faces for route in face.routes]
    routes += operation_routes(shop.platform.neighbours, shedder, shop.catalog.copies)
    api = build_api(routes, raw_routes, ready, live_routes)
    http, clock = shop.settings.http, shop.platform.clock
    features = shop.platform.runtime.live(FEATURES)
    live = Live(shop.settings.live, shop.ring, clock, lambda: features().live_streams)
    return Door(api, raw_routes, shop.ring, http.body_bytes_max, http.request_timeout_s, LiveDoor(live, live_routes))
