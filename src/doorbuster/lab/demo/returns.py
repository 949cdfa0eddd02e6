"""Orders that end before they are sent: one cancelled unpaid, one paid and given back whole."""

from __future__ import annotations

from doorbuster.lab.demo.people import Person, money, order_is
from doorbuster.lab.demo.stage import PARCEL, Goods, Stage
from doorbuster.lab.demo.view import Teller


async def returns(stage: Stage, customer: Person, unpaid: Goods, unwanted: Goods, tell: Teller) -> None:
    """Raises ShopFailed."""
    await _cancelled(stage, customer, unpaid, tell)
    await _refunded(stage, customer, unwanted, tell)


async def _cancelled(stage: Stage, customer: Person, goods: Goods, tell: Teller) -> None:
    order = await stage.place(customer, await stage.cart(customer, [(goods, 1)], PARCEL))
    await stage.shelf_shows(goods, goods.available - 1)
    await customer.ask("POST", f"/v1/orders/{order['id']}/cancel")
    await order_is(customer, order["id"], "cancelled")
    await stage.shelf_shows(goods, goods.available)
    stage.sold(goods, 0)
    stage.notices.expect(customer, "order-cancelled", order["id"])
    tell(f"{customer.name} orders 1 × {goods.title} and thinks better of it: cancelled unpaid, back on the shelf")


async def _refunded(stage: Stage, customer: Person, goods: Goods, tell: Teller) -> None:
    order = await stage.place(customer, await stage.cart(customer, [(goods, 3)], PARCEL))
    order = await stage.pay(customer, order)
    tell(f"then pays {money(order['total'])} for 3 × {goods.title}; the merchant cannot send them")
    body = {"amount": order["total"]["amount"], "reason": "cannot be sent"}
    await stage.merchant.ask("POST", f"/v1/orders/{order['id']}/refunds", body)
    order = await order_is(customer, order["id"], "refunded")
    await stage.shelf_shows(goods, goods.available)
    stage.sold(goods, 0)
    for kind in ("order-cancelled", "order-refunded"):
        stage.notices.expect(customer, kind, order["id"])
    stage.notices.expect_of_sold(stage.merchant, "cancelled", "refunded", order_id=order["id"])
    tell(f"all of it, {money(order['refunded'])}, is refunded, and the goods are on the shelf again")
