"""A parcel from the cart to the door, and one piece of it back."""

from __future__ import annotations

from doorbuster.lab.demo.people import Person, money, order_is
from doorbuster.lab.demo.stage import COUPON, PARCEL, Goods, Stage, quoted
from doorbuster.lab.demo.view import Teller

CARRIER, TRACKING_NUMBER = "SF Express", "SF1024768"


async def parcel(stage: Stage, customer: Person, first: Goods, second: Goods, tell: Teller) -> None:
    """An account buys with a coupon; the merchant ships; one unit comes back. Raises ShopFailed."""
    merchant, notices = stage.merchant, stage.notices
    cart = await stage.cart(customer, [(first, 2), (second, 1)], PARCEL)
    cart = await customer.ask("PUT", f"/v1/carts/{cart['id']}/coupon", {"code": COUPON})
    tell(f"{customer.name} (account) fills a cart: 2 × {first.title}, 1 × {second.title}")
    tell(f"  {quoted(cart['quote'])}")
    order = await stage.place(customer, cart)
    order_id = order["id"]
    order = await stage.pay(customer, order)
    stage.sold(first, 2)
    stage.sold(second, 1)
    tell(f"order {order_id} is paid, {money(order['total'])}")

    shipment = {"carrier": CARRIER, "tracking_number": TRACKING_NUMBER}
    await merchant.ask("POST", f"/v1/orders/{order_id}/shipment", shipment)
    news = {"description": "Out for delivery", "location": "Hangzhou"}
    await merchant.ask("POST", f"/v1/orders/{order_id}/tracking", news)
    await order_is(customer, order_id, "shipped")
    seen = await customer.ask("GET", f"/v1/orders/{order_id}/tracking")
    sent, news = seen["shipment"], seen["tracking"][-1]
    tell(f"shipped by {sent['carrier']}, {sent['tracking_number']}: {news['description']}")
    notices.expect(customer, "order-shipped", order_id)
    notices.expect(customer, "parcel-sent", order_id)
    notices.expect_of_sold(merchant, "shipped", order_id=order_id)

    await customer.ask("POST", f"/v1/orders/{order_id}/receive")
    await order_is(customer, order_id, "completed")
    notices.expect(customer, "order-completed", order_id)
    notices.expect_of_sold(merchant, "completed", order_id=order_id)
    tell(f"{customer.name} has it: completed")
    await _one_back(stage, customer, order_id, first, tell)


async def _one_back(stage: Stage, customer: Person, order_id: str, goods: Goods, tell: Teller) -> None:
    """A unit is returned: its share of what was paid goes back, and the unit onto the shelf."""
    body = {"lines": [{"n": 1, "quantity": 1}], "restock": True, "reason": "one too many"}
    order = await stage.merchant.ask("POST", f"/v1/orders/{order_id}/refunds", body)
    stage.sold(goods, -1)
    stage.notices.expect(customer, "order-partly-refunded", order_id)
    stage.notices.expect_of_sold(stage.merchant, "partly-refunded", order_id=order_id)
    tell(f"one of them comes back: {money(order['refunded'])} refunded, the unit is on the shelf again")
