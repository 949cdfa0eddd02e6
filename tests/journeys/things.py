"""What people of the shop own: made through its API, as they would make it. Each answers with the thing's id."""

from __future__ import annotations

from typing import Any

from journeys.api_shop import YUAN, ApiShop, eventually

ADDRESS = {"recipient": "Ann", "phone": "+86 10 1234", "country": "CN", "city": "北京", "street": "长安街 1"}
SHOP_PLACE = {"latitude": 39.9, "longitude": 116.4}
HOME_PLACE = {"latitude": 39.91, "longitude": 116.41}
HOME = {**ADDRESS, "place": HOME_PLACE}
CARD = "pm_card_visa"
COUPON = "TENTH"


# --- flash sales, payments, the catalogue -------------------------------------------------------------------------


def an_order(shop: ApiShop, who: str) -> str:
    return shop.order(who)["id"]


def a_payment(shop: ApiShop, who: str) -> str:
    return shop.payment(shop.order(who), who)["id"]


def an_address(shop: ApiShop, who: str) -> str:
    return shop.post("/v1/me/addresses", who, ADDRESS)["id"]


def a_sale(shop: ApiShop, who: str) -> str:
    return shop.sale(who)["id"]


def a_scheduled_sale(shop: ApiShop, who: str) -> str:
    return shop.sale(who, opens_at="2998-01-01T00:00:00Z")["id"]


def a_sale_with_a_room(shop: ApiShop, who: str) -> str:
    sale_id = a_scheduled_sale(shop, who)
    shop.put(f"/v1/sales/{sale_id}/waiting-room", who, {"enabled": True})
    return sale_id


def a_ticket(shop: ApiShop, who: str) -> str:
    """In the waiting room of a sale, whose id it is known by."""
    sale_id = a_sale_with_a_room(shop, "merchant")
    shop.post(f"/v1/sales/{sale_id}/waiting-room/tickets", who, {})
    return sale_id


def a_product(shop: ApiShop, who: str) -> str:
    return shop.product(who)["id"]


def a_draft(shop: ApiShop, who: str) -> str:
    sku = {"code": f"OWN-{shop.key()}", "price": {"amount": 1, "currency": YUAN}}
    return shop.post("/v1/products", who, {"title": {"en": "x"}, "category": "tea", "skus": [sku]})["id"]


def a_sku(shop: ApiShop, who: str) -> str:
    return shop.sku_in_stock(who)


def a_stocked_sku(shop: ApiShop, who: str) -> str:
    """In the merchant's default warehouse, beside which there is another."""
    shop.post("/v1/warehouses", who, {"code": f"w{shop.key()}", "name": "x"})
    return a_sku(shop, who)


def transfer(shop: ApiShop, sku_id: str, _who: str) -> object:
    """One unit of it, from where it is to another of its merchant's warehouses."""
    for owner in ("merchant", "rival"):
        if shop.ask("GET", f"/v1/stock?sku_id={sku_id}", owner).is_success:
            lies_in = shop.get(f"/v1/stock?sku_id={sku_id}", owner)["warehouses"][0]["warehouse_id"]
            to = next(one["id"] for one in shop.get("/v1/warehouses", owner)["items"] if one["id"] != lies_in)
            return {**lines_of(sku_id), "warehouse_id": lies_in, "to_warehouse_id": to}
    return {**lines_of(sku_id), "warehouse_id": "1", "to_warehouse_id": "2"}


# --- carts, checkouts and what becomes of them --------------------------------------------------------------------


def a_cart(shop: ApiShop, who: str, merchant: str = "merchant", fulfilment: str = "parcel") -> str:
    """A cart that can be ordered. A person has ten at most: one of before is taken again."""
    for cart in shop.get("/v1/me/carts", who)["items"]:
        if cart["lines"] and fulfilment == "parcel" and merchant == "merchant":
            return cart["id"]
    shop.put("/v1/shipping-methods/standard", merchant, {"name": "Parcel"})
    shop.put("/v1/shipping-methods/courier", merchant, {"name": "Courier", "fulfilment": "takeout"})
    method = {"parcel": "standard", "takeout": "courier"}[fulfilment]
    delivery = {"destination": HOME, "contact_email": "ann@example.org", "shipping_method": method}
    lines = [{"sku_id": shop.sku_in_stock(merchant), "quantity": 2}]
    return shop.post("/v1/carts", who, {"lines": lines, "delivery": delivery})["id"]


def a_placed_order(shop: ApiShop, who: str, merchant: str = "merchant", fulfilment: str = "parcel") -> str:
    cart_id = a_cart(shop, who, merchant, fulfilment)
    quote = shop.get(f"/v1/carts/{cart_id}", who)["quote"]["fingerprint"]
    order_id: str = shop.post(f"/v1/carts/{cart_id}/checkout", who, {"quote": quote})["order_id"]
    return order_id


def a_line(shop: ApiShop, who: str) -> str:
    """A line of a cart: the cart's id and the SKU's."""
    cart_id = a_cart(shop, who)
    sku_id = shop.get(f"/v1/carts/{cart_id}", who)["lines"][0]["sku_id"]
    return f"{cart_id}/{sku_id}"


def a_cart_with_coupon(shop: ApiShop, who: str) -> str:
    """A cart that the coupon of `its_coupon` is good for."""
    times = {"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2999-01-01T00:00:00Z"}
    body = {"code": COUPON, "kind": "percent", "percent": 10, "currency": YUAN, **times}
    answer = shop.ask("POST", "/v1/coupons", "merchant", body, key=COUPON)
    assert answer.status_code == 201, answer.text
    return a_cart(shop, who)


def its_coupon(_shop: ApiShop, _id: str, _who: str) -> object:
    return {"code": COUPON}


def a_shipping_method(shop: ApiShop, who: str) -> str:
    """Its code and its merchant."""
    shop.put("/v1/shipping-methods/slow", who, {"name": "Slow"})
    return f"slow/{an_account(shop, who)}"


def an_account(shop: ApiShop, who: str) -> str:
    return shop.people[who].account_id


def a_paid_order(shop: ApiShop, who: str, merchant: str = "merchant", fulfilment: str = "parcel") -> str:
    order_id = a_placed_order(shop, who, merchant, fulfilment)
    total = shop.get(f"/v1/orders/{order_id}", who)["total"]
    paid = shop.post(f"/v1/orders/{order_id}/payments", who, {"amount": total, "method": CARD})
    assert paid["status"] == "captured"
    eventually(lambda: shop.status_of({"id": order_id}, who) == "paid", f"{order_id} is paid")
    return order_id


def a_sold_order(shop: ApiShop, merchant: str) -> str:
    """A paid order of the merchant's goods, bought by the owner."""
    return a_paid_order(shop, "owner", merchant)


def a_sent_order(shop: ApiShop, who: str, merchant: str = "merchant") -> str:
    order_id = a_paid_order(shop, who, merchant)
    shop.post(f"/v1/orders/{order_id}/shipment", merchant, {"carrier": "SF", "tracking_number": "SF1"})
    return order_id


def a_sent_parcel(shop: ApiShop, merchant: str) -> str:
    return a_sent_order(shop, "owner", merchant)


# --- takeout ------------------------------------------------------------------------------------------------------


def a_meal(shop: ApiShop, merchant: str) -> str:
    """A takeout order of the merchant's, paid by the owner, that waits to be accepted."""
    shop.put("/v1/merchant/place", merchant, SHOP_PLACE)
    order_id = a_paid_order(shop, "owner", merchant, "takeout")
    eventually(lambda: shop.ask("GET", f"/v1/orders/{order_id}/delivery", "admin").is_success, "delivery knows it")
    return order_id


def an_ordered_meal(shop: ApiShop, who: str) -> str:
    shop.put("/v1/merchant/place", "merchant", SHOP_PLACE)
    order_id = a_paid_order(shop, who, "merchant", "takeout")
    eventually(lambda: shop.ask("GET", f"/v1/orders/{order_id}/delivery", who).is_success, "delivery knows it")
    return order_id


def an_accepted_meal(shop: ApiShop, merchant: str) -> str:
    order_id = a_meal(shop, merchant)
    shop.post(f"/v1/orders/{order_id}/delivery/accept", merchant, None, 200)
    return order_id


def an_offer(shop: ApiShop, courier: str, merchant: str = "merchant") -> str:
    """What this courier, who carries one order at a time, is asked to deliver.

    The other one is busy or goes offline; an order that somebody left behind is delivered first.
    """
    order_id = an_accepted_meal(shop, merchant)
    other = {"courier": "rider", "rider": "courier"}[courier]
    for each in shop.get("/v1/courier/tasks", courier)["items"]:
        carry_out(shop, courier, each["order_id"])
    if not shop.get("/v1/courier/tasks", other)["items"] and not shop.get("/v1/courier/offer", other)["offer"]:
        shop.put("/v1/courier/presence", other, {"online": False})
    shop.put("/v1/courier/presence", courier, {"online": True})
    shop.post("/v1/courier/positions", courier, {"positions": [SHOP_PLACE]}, 200)
    shop.post(f"/v1/orders/{order_id}/delivery/ready", merchant, None, 200)
    for _ in range(20):
        eventually(lambda: shop.get("/v1/courier/offer", courier)["offer"], f"{courier} is asked")
        offer = shop.get("/v1/courier/offer", courier)["offer"]
        if offer["order_id"] == order_id:
            return offer["id"]
        shop.post(f"/v1/courier/offers/{offer['id']}/accept", courier, None, 200)
        carry_out(shop, courier, offer["order_id"])
    raise AssertionError("too much was left behind")


def carry_out(shop: ApiShop, courier: str, order_id: str) -> None:
    shop.post(f"/v1/courier/tasks/{order_id}/pick-up", courier, None, 200)
    shop.post(f"/v1/courier/tasks/{order_id}/deliver", courier, None, 200)


def an_assigned_meal(shop: ApiShop, courier: str, merchant: str = "merchant") -> str:
    """The task that this courier has accepted; its id is the order's."""
    return shop.post(f"/v1/courier/offers/{an_offer(shop, courier, merchant)}/accept", courier, None, 200)["order_id"]


def a_carried_meal(shop: ApiShop, courier: str) -> str:
    order_id = an_assigned_meal(shop, courier)
    shop.post(f"/v1/courier/tasks/{order_id}/pick-up", courier, None, 200)
    return order_id


def an_assigned_meal_of(shop: ApiShop, merchant: str) -> str:
    """A task of the merchant's that some courier has accepted."""
    return an_assigned_meal(shop, {"merchant": "courier", "rival": "rider"}[merchant], merchant)


# --- support, notifications ---------------------------------------------------------------------------------------


def a_conversation(shop: ApiShop, who: str) -> str:
    return shop.post("/v1/conversations", who, {"text": "hello"})["id"]


def a_taken_conversation(shop: ApiShop, who: str) -> str:
    conversation_id = a_conversation(shop, who)
    shop.post(f"/v1/conversations/{conversation_id}/take", "support", None, 200)
    return conversation_id


def an_endpoint(shop: ApiShop, who: str) -> str:
    return shop.post("/v1/webhook-endpoints", who, {"url": "http://127.0.0.1:9/orders"})["id"]


def a_dead_message(shop: ApiShop, merchant: str) -> str:
    """A webhook of a merchant's that could not be sent: nobody listens there."""
    endpoint_id = an_endpoint(shop, merchant)
    a_sold_order(shop, merchant)
    account_id = shop.people[merchant].account_id

    def dead() -> list[str]:
        found = shop.get("/v1/notifications/dead", "admin")["items"]
        return [each["id"] for each in found if each["account_id"] == account_id]

    eventually(dead, "it is given up")
    assert shop.ask("DELETE", f"/v1/webhook-endpoints/{endpoint_id}", merchant).status_code == 204
    return dead()[0]


def lines_of(sku_id: str) -> dict[str, Any]:
    return {"lines": [{"sku_id": sku_id, "quantity": 1}]}
