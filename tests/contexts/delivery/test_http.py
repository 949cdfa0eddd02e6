"""Delivery behind the real door, and live."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from contexts.delivery.delivery_shop import ANN, BEN, EVA, KAI, MERCHANT, DeliveryShop
from doorbuster.kernel.principal import Principal
from live_server import LiveServer, live_server, received

PLACE = {"latitude": 30.25, "longitude": 120.15}


@pytest.fixture
async def server(shop: DeliveryShop) -> AsyncIterator[LiveServer]:
    async with live_server([shop.built.context.faces()]) as server:
        yield server


async def ask(
    server: LiveServer, who: Principal, method: str, path: str, json: object = None, key: str = ""
) -> httpx.Response:
    headers = server.headers(who) | ({"idempotency-key": key} if key else {})
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as client:
        return await client.request(method, path, json=json, headers=headers)


async def test_a_takeout_order_by_http(shop: DeliveryShop, server: LiveServer):
    order_id = await shop.paid()
    calls: list[tuple[Principal, str, str, object]] = [
        (MERCHANT, "PUT", "/v1/merchant/place", PLACE),
        (MERCHANT, "POST", f"/v1/orders/{order_id}/delivery/accept", None),
        (MERCHANT, "POST", f"/v1/orders/{order_id}/delivery/ready", None),
        (KAI, "PUT", "/v1/courier/presence", {"online": True}),
        (KAI, "POST", "/v1/courier/positions", {"positions": [PLACE]}),
    ]
    for call in calls:
        answer = await ask(server, *call)
        assert answer.status_code == 200, answer.text
    await shop.built.dispatcher.round()
    offer = (await ask(server, KAI, "GET", "/v1/courier/offer")).json()["offer"]
    assert offer["order_id"] == str(order_id)
    for path in (f"offers/{offer['id']}/accept", f"tasks/{order_id}/pick-up", f"tasks/{order_id}/deliver"):
        answer = await ask(server, KAI, "POST", f"/v1/courier/{path}")
        assert answer.status_code == 200, answer.text
    seen = (await ask(server, ANN, "GET", f"/v1/orders/{order_id}/delivery")).json()
    assert (seen["task"]["status"], seen["courier_at"]) == ("delivered", None)
    assert (await ask(server, BEN, "GET", f"/v1/orders/{order_id}/delivery")).status_code == 404
    assert (await ask(server, ANN, "POST", f"/v1/courier/tasks/{order_id}/deliver")).status_code == 403


async def test_a_parcel_by_http(shop: DeliveryShop, server: LiveServer):
    order_id = await shop.paid("parcel")
    path, body = f"/v1/orders/{order_id}/shipment", {"carrier": "SF", "tracking_number": "SF1"}
    assert (await ask(server, MERCHANT, "POST", path, body)).status_code == 400, "a key is needed"
    assert (await ask(server, MERCHANT, "POST", path, body, "k")).status_code == 201
    news = {"description": "arrived"}
    assert (await ask(server, MERCHANT, "POST", f"/v1/orders/{order_id}/tracking", news, "t")).status_code == 201
    seen = (await ask(server, ANN, "GET", f"/v1/orders/{order_id}/tracking")).json()
    assert (seen["shipment"]["status"], len(seen["tracking"])) == ("sent", 1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/courier/positions", {"positions": [{"latitude": 91, "longitude": 0}]}),
        ("/v1/courier/positions", {"positions": []}),
        ("/v1/courier/positions", {"positions": [PLACE] * 61}),
        ("/v1/courier/positions", {"positions": [PLACE | {"seconds_ago": 10**30}]}),
        ("/v1/courier/offers/99999999999999999999/accept", None),
        ("/v1/courier/tasks/%00/deliver", None),
    ],
)
async def test_what_cannot_be_is_refused(shop: DeliveryShop, server: LiveServer, path: str, body: object):
    before = await shop.everything()
    assert (await ask(server, KAI, "POST", path, body)).status_code in (400, 404, 422)
    assert await shop.everything() == before


@pytest.mark.parametrize("text", ["a\u0000b", "\ud800"])
async def test_strange_text_is_refused(shop: DeliveryShop, server: LiveServer, text: str):
    order_id = await shop.paid()
    headers = server.headers(MERCHANT) | {"content-type": "application/json"}
    escaped = text.encode("unicode_escape").decode().replace("\\x00", "\\u0000")
    raw = f'{{"reason":"{escaped}"}}'
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as client:
        answer = await client.post(f"/v1/orders/{order_id}/delivery/decline", content=raw, headers=headers)
    assert answer.status_code == 400, answer.text
    assert (await shop.task(order_id)).status == "waiting"


async def test_the_customer_watches_by_socket_and_goes_on_behind_a_cursor(shop: DeliveryShop, server: LiveServer):
    order_id = await shop.assigned()
    path = f"/v1/orders/{order_id}/live/socket"
    async with server.connect(path, ANN) as socket:
        assert (await received(socket))["type"] == "ready"
        statuses = [(await received(socket))["item"]["status"] for _ in range(4)]
        assert statuses == ["waiting", "preparing", "ready", "assigned"]
        await shop.riding.pick_up(KAI, order_id)
        assert (await received(socket))["item"]["status"] == "picked_up"
    async with server.connect(f"{path}?after=4", ANN) as socket:
        assert (await received(socket))["type"] == "ready"
        assert (await received(socket))["cursor"] == "5"
    async with server.connect(path, BEN) as socket:
        assert [(await received(socket))["type"] for _ in range(2)] == ["ready", "error"]


async def test_the_customer_watches_by_events(shop: DeliveryShop, server: LiveServer):
    order_id = await shop.assigned()
    path = f"{server.http}/v1/orders/{order_id}/live"
    headers = server.headers(ANN) | {"last-event-id": "3"}
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", path, headers=headers) as answer:
        lines = answer.aiter_lines()
        ids = [line async for line in _until(lines, "id: ")]
    assert ids == ["id: 4"]
    assert (await ask(server, BEN, "GET", f"/v1/orders/{order_id}/live")).status_code == 404


async def _until(lines: AsyncIterator[str], start: str) -> AsyncIterator[str]:
    """The first line that begins so."""
    async for line in lines:
        if line.startswith(start):
            yield line
            return


async def test_only_the_shops_own_people_put_one_before_others(shop: DeliveryShop, server: LiveServer):
    (order_id,) = await shop.ready()
    path, body = f"/v1/orders/{order_id}/delivery/priority", {"priority": 3, "urgent": True}
    before = await shop.everything()
    for who in (ANN, BEN, MERCHANT, KAI):
        assert (await ask(server, who, "PUT", path, body)).status_code == 403
    for wrong in ({"priority": 11}, {"priority": -11}, {"priority": 1.5}, {"urgent": 1}, {"more": 1}):
        assert (await ask(server, EVA, "PUT", path, wrong)).status_code == 400
    assert await shop.everything() == before
    answer = await ask(server, EVA, "PUT", path, body)
    assert (answer.status_code, answer.json()) == (200, {"order_id": str(order_id), **body})
