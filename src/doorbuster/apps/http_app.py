"""The HTTP application of a shop: every context's faces behind one door."""

from __future__ import annotations

from doorbuster.apps.shop import Shop
from doorbuster.edge.api import Ready, build_api
from doorbuster.edge.door import Door


def build_app(shop: Shop, ready: Ready) -> Door:
    faces = [context.faces() for context in shop.contexts]
    raw_routes = [route for face in faces for route in face.raw_routes]
    api = build_api([route for face in faces for route in face.routes], raw_routes, ready)
    http = shop.settings.http
    return Door(api, raw_routes, shop.ring, http.body_bytes_max, http.request_timeout_s)
