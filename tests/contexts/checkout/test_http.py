"""Carts and checkouts over HTTP, behind the real door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contexts.checkout.neighbours import MERCHANT, POT, RARE, TEA
from contexts.checkout.placing_shop import PlacingShop
from doorbuster.contexts.checkout.tables import carts, checkouts
from doorbuster.edge.api import build_api
from doorbuster.edge.door import Door
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.principal import Principal, Role

DESTINATION = {
    "recipient": "Ann Lee",
    "phone": "+86 555 0100",
    "country": "CN",
    "city": "Hangzhou",
    "street": "1 Lake Road",
}
DELIVERY = {"destination": DESTINATION, "contact_email": "ann@example.org"}
TEA_LINE = {"sku_id": str(TEA), "quantity": 2}
HUGE = "9" * 19


@pytest.fixture
async def client(shop: PlacingShop) -> AsyncIterator[httpx.AsyncClient]:
    faces = shop.built.context.faces()

    async def ready() -> list[str]:
        return []

    door = Door(build_api(faces.routes, faces.raw_routes, ready), faces.raw_routes, shop.ring, 65_536, 5.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://shop") as client:
        yield client


def bearer(token: str, key: str = "") -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} | ({"idempotency-key": key} if key else {})


def token_of(shop: PlacingShop, role: Role = "customer", account_id: int | None = None) -> str:
    return shop.ring.sign(Principal(account_id or shop.platform.ids.next_owner(), role), 900)


async def guest_cart(client: httpx.AsyncClient) -> tuple[dict[str, Any], str]:
    answer = await client.post("/v1/carts", json={"lines": [TEA_LINE], "delivery": DELIVERY})
    assert answer.status_code == 201, answer.text
    return answer.json(), answer.json()["guest"]["token"]


async def test_a_guest_checks_out_in_three_requests(client: httpx.AsyncClient, shop: PlacingShop):
    made = (await client.post("/v1/carts", json={"lines": [TEA_LINE]})).json()
    token = made["guest"]["token"]
    assert made["quote"]["total"] == {"amount": 3980, "currency": "CNY"}
    put = await client.put(f"/v1/carts/{made['id']}/delivery", json=DELIVERY, headers=bearer(token))
    assert put.status_code == 200, put.text
    cart = put.json()
    assert cart["version"] == 2
    assert "guest" not in cart or cart["guest"] is None
    path, body = f"/v1/carts/{made['id']}/checkout", {"quote": cart["quote"]["fingerprint"], "note": "bell\nis out"}
    placed = await client.post(path, json=body, headers=bearer(token, "k"))
    assert placed.status_code == 201, placed.text
    assert placed.json() == {
        "order_id": placed.json()["order_id"],
        "cart_id": made["id"],
        "status": "placed",
        "total": {"amount": 3980, "currency": "CNY"},
        "pay_by": "2026-09-21T14:28:20.000Z",
        "reason": None,
        "sku_ids": [],
    }
    assert (await client.post(path, json=body, headers=bearer(token, "k"))).json() == placed.json()
    seen = await client.get(f"/v1/checkouts/{placed.json()['order_id']}", headers=bearer(token))
    assert seen.json() == placed.json()
    (order,) = shop.orders.all.values()
    assert str(order.id) == placed.json()["order_id"]


async def test_a_cart_is_changed_line_by_line(client: httpx.AsyncClient, shop: PlacingShop):
    token = token_of(shop)
    made = await client.post("/v1/carts", json={}, headers=bearer(token, "k"))
    assert made.json()["quote"] is None
    again = await client.post("/v1/carts", json={}, headers=bearer(token, "k"))
    assert again.json()["id"] == made.json()["id"]
    at = f"/v1/carts/{made.json()['id']}"
    headers = bearer(token)
    await client.put(f"{at}/lines/{POT}", json={"quantity": 3}, headers=headers)
    changed = await client.put(f"{at}/lines/{TEA}", json={"quantity": 1}, headers=headers)
    assert [line["quantity"] for line in changed.json()["lines"]] == [3, 1]
    left = await client.delete(f"{at}/lines/{POT}", headers=headers)
    assert [line["sku_id"] for line in left.json()["lines"]] == [str(TEA)]
    assert (await client.get(at, headers=headers)).json() == left.json()
    quote = await client.get(f"{at}/quote", headers=headers)
    assert quote.json()["lines"][0]["available"] == 1_000_000
    listed = await client.get("/v1/me/carts", headers=headers)
    assert [cart["id"] for cart in listed.json()["items"]] == [made.json()["id"]]
    (row,) = await shop.rows(carts)
    assert row.version == 4


async def test_terms_are_the_merchants(client: httpx.AsyncClient, shop: PlacingShop):
    merchant, admin, stranger = (
        token_of(shop, "merchant", MERCHANT),
        token_of(shop, "admin"),
        token_of(shop, "merchant"),
    )
    method = {"name": "Courier", "fulfilment": "takeout", "currency": "CNY", "fee": 500, "fee_per_unit": 10}
    public = f"/v1/merchants/{MERCHANT}/shipping-methods"
    assert [each["code"] for each in (await client.get(public)).json()["items"]] == ["standard"]
    assert (await client.put("/v1/shipping-methods/bike", json=method, headers=bearer(merchant))).status_code == 200
    mine = method | {"merchant_id": str(MERCHANT)}
    assert (await client.put("/v1/shipping-methods/van", json=mine, headers=bearer(stranger))).status_code == 403
    assert (await client.put("/v1/shipping-methods/van", json=method, headers=bearer(admin))).status_code == 400
    assert (await client.put("/v1/shipping-methods/van", json=mine, headers=bearer(admin))).status_code == 200
    assert [each["code"] for each in (await client.get(public)).json()["items"]] == ["bike", "van"]
    assert (await client.delete("/v1/shipping-methods/van", headers=bearer(merchant))).status_code == 204
    assert (await client.delete("/v1/shipping-methods/%00", headers=bearer(merchant))).status_code == 404
    coupon = {
        "code": "SAVE10",
        "kind": "percent",
        "percent": 10,
        "currency": "CNY",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_to": "2027-01-01T00:00:00Z",
        "total_limit": 5,
    }
    made = await client.post("/v1/coupons", json=coupon, headers=bearer(merchant, "c"))
    assert made.status_code == 201, made.text
    listed = await client.get("/v1/coupons", headers=bearer(merchant))
    assert listed.json()["items"] == [made.json()]
    cart = (await client.post("/v1/carts", json={"lines": [TEA_LINE]})).json()
    at, token = f"/v1/carts/{cart['id']}", cart["guest"]["token"]
    assert cart["quote"] is None  # the merchant ships in one way only, and the cart asks for another
    assert (await client.get(f"{at}/quote", headers=bearer(token))).json()["slug"] == "shipping-method-not-found"
    place = {"latitude": 30.25, "longitude": 120.16}
    delivery = {"destination": DESTINATION | {"place": place}, "shipping_method": "bike"}
    await client.put(f"{at}/delivery", json=delivery, headers=bearer(token))
    used = await client.put(f"{at}/coupon", json={"code": "SAVE10"}, headers=bearer(token))
    quote = used.json()["quote"]
    assert (quote["shipping"]["amount"], quote["discount"]["amount"], quote["total"]["amount"]) == (520, 398, 4102)
    assert (await client.delete(f"{at}/coupon", headers=bearer(token))).json()["quote"]["total"]["amount"] == 4500


async def test_a_guest_logs_in_and_keeps_the_cart(client: httpx.AsyncClient, shop: PlacingShop):
    cart, guest = await guest_cart(client)
    token = token_of(shop)
    body = {"guest_token": guest}
    merged = await client.post("/v1/carts/merge", json=body, headers=bearer(token, "m"))
    assert merged.status_code == 200, merged.text
    assert [each["id"] for each in merged.json()["items"]] == [cart["id"]]
    assert (await client.post("/v1/carts/merge", json=body, headers=bearer(token, "m"))).json() == merged.json()
    assert (await client.get(f"/v1/carts/{cart['id']}", headers=bearer(guest))).status_code == 404
    for wrong in (token, "x.y.z"):
        refused = await client.post("/v1/carts/merge", json={"guest_token": wrong}, headers=bearer(token, "n"))
        assert refused.status_code == 401


@pytest.mark.parametrize("role", ["merchant", "courier", "support", "admin"])
async def test_only_shoppers_have_carts(client: httpx.AsyncClient, shop: PlacingShop, role: Role):
    cart, _token = await guest_cart(client)
    before = await shop.everything()
    other = token_of(shop, role)
    for ask in (
        client.post("/v1/carts", json={}, headers=bearer(other, "k")),
        client.put(f"/v1/carts/{cart['id']}/delivery", json=DELIVERY, headers=bearer(other)),
        client.post(f"/v1/carts/{cart['id']}/checkout", json={"quote": "0" * 16}, headers=bearer(other, "k")),
        client.get(f"/v1/carts/{cart['id']}", headers=bearer(other)),
        client.get("/v1/me/carts", headers=bearer(other)),
    ):
        assert (await ask).status_code == 403
    assert await shop.everything() == before


async def test_somebody_elses_cart_is_not_there(client: httpx.AsyncClient, shop: PlacingShop):
    cart, _token = await guest_cart(client)
    _other, token = await guest_cart(client)
    before = await shop.everything()
    at, headers = f"/v1/carts/{cart['id']}", bearer(token, "k")
    for ask in (
        client.put(f"{at}/delivery", json=DELIVERY, headers=headers),
        client.put(f"{at}/lines/{TEA}", json={"quantity": 9}, headers=headers),
        client.delete(f"{at}/lines/{TEA}", headers=headers),
        client.delete(f"{at}/coupon", headers=headers),
        client.post(f"{at}/checkout", json={"quote": cart["quote"]["fingerprint"]}, headers=headers),
        client.get(at, headers=headers),
        client.get(f"{at}/quote", headers=headers),
        client.get(f"/v1/checkouts/{cart['id']}", headers=headers),
    ):
        answer = await ask
        assert answer.status_code == 404, answer.text
    for ask in (client.get(at), client.put(f"{at}/delivery", json=DELIVERY), client.post(f"{at}/checkout", json={})):
        assert (await ask).status_code == 401
    assert await shop.everything() == before


BAD_CARTS: list[Any] = [
    [],
    {"lines": [TEA_LINE] * 51},
    {"lines": [{"sku_id": str(TEA), "quantity": 0}]},
    {"lines": [{"sku_id": str(TEA), "quantity": 1001}]},
    {"lines": [{"sku_id": HUGE, "quantity": 1}]},
    {"lines": [{"sku_id": "1", "quantity": 10**30}]},
    {"lines": [TEA_LINE, TEA_LINE | {"quantity": 999}]},
    {"lines": [{"sku_id": "404", "quantity": 1}]},
    {"who": 1},
    {"delivery": {"destination": DESTINATION | {"city": "a\u0000b"}}},
    {"delivery": {"destination": DESTINATION | {"city": "a\n"}}},
    {"delivery": {"destination": DESTINATION | {"country": "CN\n"}}},
    {"delivery": {"destination": DESTINATION | {"place": {"latitude": 91, "longitude": 0}}}},
    {"delivery": DELIVERY | {"contact_email": "ann"}},
    {"delivery": DELIVERY | {"contact_email": "ann@example.org\n"}},
    {"lines": [TEA_LINE], "delivery": DELIVERY | {"shipping_method": "teleport"}},
]


@pytest.mark.parametrize("body", BAD_CARTS, ids=str)
async def test_a_bad_cart_is_refused_and_not_written(client: httpx.AsyncClient, shop: PlacingShop, body: Any):
    answer = await client.post("/v1/carts", json=body)
    if body == BAD_CARTS[10]:  # white space at the end is trimmed
        assert answer.json()["destination"]["city"] == "a"
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert not await shop.rows(carts)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"lines": "\\ud800"}', b"\xff", b"[" * 60_000, b"null"])
async def test_bodies_that_are_no_json(client: httpx.AsyncClient, raw: bytes):
    cart, token = await guest_cart(client)
    for method, path in (
        ("POST", "/v1/carts"),
        ("PUT", f"/v1/carts/{cart['id']}/delivery"),
        ("POST", f"/v1/carts/{cart['id']}/checkout"),
    ):
        answer = await client.request(method, path, content=raw, headers=bearer(token, "k"))
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("cart_id", ["0", "x", HUGE, "99999999999999999999", "%00", "9223372036854775807"])
async def test_ids_that_are_none(client: httpx.AsyncClient, shop: PlacingShop, cart_id: str):
    headers = bearer(token_of(shop), "k")
    body = {"quote": "0" * 16}
    for ask in (
        client.get(f"/v1/carts/{cart_id}", headers=headers),
        client.get(f"/v1/carts/{cart_id}/quote", headers=headers),
        client.put(f"/v1/carts/{cart_id}/delivery", json=DELIVERY, headers=headers),
        client.post(f"/v1/carts/{cart_id}/checkout", json=body, headers=headers),
        client.get(f"/v1/checkouts/{cart_id}", headers=headers),
        client.get(f"/v1/merchants/{cart_id}/shipping-methods"),
    ):
        answer = await ask
        assert answer.status_code in (200, 400, 404), answer.text


async def test_what_an_answer_says_when_it_cannot_be_placed(client: httpx.AsyncClient, shop: PlacingShop):
    cart, token = await guest_cart(client)
    path = f"/v1/carts/{cart['id']}/checkout"
    stale = await client.post(path, json={"quote": "0" * 16}, headers=bearer(token, "k"))
    assert (stale.status_code, stale.json()["slug"]) == (409, "quote-changed")
    assert stale.json()["quote"] == cart["quote"]["fingerprint"]
    assert (await client.post(path, json={"quote": "0" * 16}, headers=bearer(token))).status_code == 400
    shop.warehouse.stock(TEA, 1)
    body = {"quote": cart["quote"]["fingerprint"]}
    short = await client.post(path, json=body, headers=bearer(token, "k"))
    assert (short.status_code, short.json()["slug"]) == (409, "out-of-stock")
    assert str(TEA) in short.json()["sku_ids"]
    shop.warehouse.stock(TEA, 2)
    shop.orders.ledger.busy.append(Unavailable("away"))
    fresh = (await client.get(f"/v1/carts/{cart['id']}", headers=bearer(token))).json()["quote"]["fingerprint"]
    left = await client.post(path, json={"quote": fresh}, headers=bearer(token, "k"))
    assert (left.status_code, left.json()["status"]) == (202, "placing")
    assert len(await shop.rows(checkouts)) == 2
    assert RARE not in {line.sku_id for hold in shop.warehouse.all_holds.values() for line in hold.lines}


async def test_the_document_knows_the_raw_routes(client: httpx.AsyncClient):
    document = (await client.get("/openapi.json")).json()
    assert set(document["paths"]["/v1/carts"]) == {"post"}
    assert document["paths"]["/v1/carts/{cart_id}/checkout"]["post"]["responses"].keys() == {"201", "202", "default"}
    assert (await client.get("/v1/carts")).status_code == 405
