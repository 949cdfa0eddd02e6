"""The routes: policies on all, strict bodies, secrets shown once."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import httpx
from litestar import Litestar, Request, Response

from contexts.notifications.notifying_shop import ANN, ROOT, TEA_HOUSE, NotifyingShop
from doorbuster.contexts.notifications.tables import endpoints, preferences
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.faces import roles_of
from doorbuster.platform.http.problems import problem_of


def problem(_request: Request[Any, Any, Any], error: ShopError) -> Response[bytes]:
    status, headers, body = problem_of(error, "test")
    return Response(body, status_code=status, headers={k.decode(): v.decode() for k, v in headers})


def client_of(shop: NotifyingShop, who: Principal) -> httpx.AsyncClient:
    app: Any = Litestar(
        list(shop.built.context.faces().routes), exception_handlers={ShopError: problem}, openapi_config=None
    )

    async def door(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        scope["principal"] = who
        await app(scope, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://shop")


async def test_every_route_has_a_policy(shop: NotifyingShop):
    assert all(roles_of(route) for route in shop.built.context.faces().routes)  # pyright: ignore


async def test_the_stream_and_preferences_over_http(shop: NotifyingShop):
    order = await shop.paid()
    async with client_of(shop, ANN) as client:
        page = (await client.get("/v1/me/notifications")).json()
        assert (page["unread"], page["last"], page["items"][0]["about"]["order_id"]) == (1, 1, str(order.id))
        assert (await client.post("/v1/me/notifications/read", json={"number": 1})).json()["unread"] == 0
        address = "/v1/me/notification-preferences"
        assert (await client.get(address)).json()["channels"]["order-paid"] == ["email", "push"]
        wished = {"locale": "zh", "channels": {"order-paid": []}}
        assert (await client.put(address, json=wished)).json()["channels"]["order-paid"] == []
        for wrong in ({"locale": "fr"}, {"locale": "zh", "channels": {"x": []}}, wished | {"more": 1}):
            assert (await client.put(address, json=wrong)).status_code == 400
        assert len(await shop.rows(preferences)) == 1
        for path in ("/v1/notifications/dead", "/v1/webhook-endpoints"):
            assert (await client.get(path)).status_code == 403


async def test_endpoints_over_http(shop: NotifyingShop):
    async with client_of(shop, TEA_HOUSE) as client:
        body, key = {"url": "https://8.8.8.8/hook"}, {"Idempotency-Key": "k"}
        made = (await client.post("/v1/webhook-endpoints", json=body, headers=key)).json()
        assert made["secret"].startswith("whsec_")
        assert "secret" not in (await client.get("/v1/webhook-endpoints")).text
        refused = await client.post("/v1/webhook-endpoints", json={"url": "https://10.0.0.1/"}, headers=key)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (400, "webhook-endpoint-refused")
        assert (await client.delete(f"/v1/webhook-endpoints/{made['id']}")).status_code == 204
        assert not await shop.rows(endpoints)


async def test_admins_see_the_dead(shop: NotifyingShop):
    async with client_of(shop, ROOT) as client:
        assert (await client.get("/v1/notifications/dead")).json() == {"items": [], "next_cursor": None}
        assert (await client.post("/v1/notifications/5/replay")).status_code == 404
