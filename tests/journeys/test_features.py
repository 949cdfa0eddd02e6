"""Optional parts of a running shop are switched off and on again; what sells goes on meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from journeys import things
from journeys.api_shop import ApiShop, api_shop, eventually, problem


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("features"), with_payments=True, back_room=True) as shop:
        yield shop


def switch(shop: ApiShop, **parts: bool) -> None:
    """In force in the door when this returns, and in the back room within a second."""
    before = shop.get("/v1/config", "admin")["version"]
    body = {"version": before, "reason": "test", "changes": [{"key": "features", "value": parts}]}
    changed = shop.ask("PUT", "/v1/config", "admin", body)
    assert changed.status_code == 200, changed.text

    def in_force() -> bool:
        items = shop.get("/v1/config", "admin")["items"]
        features = next(each["in_force"] for each in items if each["key"] == "features")
        return all(features[part] is on for part, on in parts.items())

    eventually(in_force, "the door follows")


def test_without_support_nobody_opens_a_conversation_and_open_ones_go_on(shop: ApiShop):
    open_one = things.a_conversation(shop, "owner")
    before = shop.rows()["support.conversations"]
    switch(shop, support=False)
    refused = shop.ask("POST", "/v1/conversations", "other", {"text": "hello"}, key=shop.key())
    assert problem(refused) == (503, "feature-off")
    assert int(refused.headers["retry-after"]) >= 1
    assert shop.rows()["support.conversations"] == before, "nothing was written"
    shop.post(f"/v1/conversations/{open_one}/messages", "owner", {"text": "still there?"})
    switch(shop, support=True)
    things.a_conversation(shop, "other")


def test_without_dispatch_no_courier_is_asked_and_the_meal_is_not_forgotten(shop: ApiShop):
    switch(shop, dispatch=False)
    order_id = things.an_accepted_meal(shop, "merchant")
    shop.put("/v1/courier/presence", "courier", {"online": True})
    shop.post("/v1/courier/positions", "courier", {"positions": [things.SHOP_PLACE]}, 200)
    shop.post(f"/v1/orders/{order_id}/delivery/ready", "merchant", None, 200)
    # A whole order is sold and prepared meanwhile: time in which many rounds would have been.
    another = things.an_accepted_meal(shop, "merchant")
    shop.post(f"/v1/orders/{another}/delivery/ready", "merchant", None, 200)
    shop.settle()
    assert shop.get("/v1/courier/offer", "courier")["offer"] is None
    switch(shop, dispatch=True)
    eventually(lambda: shop.get("/v1/courier/offer", "courier")["offer"], "the courier is asked")
    assert shop.get("/v1/courier/offer", "courier")["offer"]["order_id"] in (order_id, another)


def test_without_fresh_categories_the_list_is_the_one_last_read(shop: ApiShop):
    def categories() -> list[str]:
        return [each["slug"] for each in shop.get("/v1/categories")["items"]]

    shop.product()
    eventually(lambda: "tea" in categories(), "the list was read")
    switch(shop, fresh_categories=False)
    body = {"title": {"en": "New"}, "category": "porcelain", "status": "active"}
    body["skus"] = [{"code": "PORCELAIN", "price": {"amount": 100, "currency": "CNY"}}]
    shop.post("/v1/products", "merchant", body)
    shop.settle()
    assert "porcelain" not in categories()
    switch(shop, fresh_categories=True)
    eventually(lambda: "porcelain" in categories(), "it is fresh again")
