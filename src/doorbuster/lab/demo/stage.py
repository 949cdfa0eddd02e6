"""What the scenes of the second act share: the shop, its merchant, the goods, and how somebody buys something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from doorbuster.lab.demo.notices import Notices
from doorbuster.lab.demo.people import Person, money, order_is, until
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.stampede import Pool

COUPON = "SAVE10"
PARCEL, TAKEOUT = "express", "courier"
HOME = {
    "recipient": "Mei Lin",
    "phone": "+86 555 0100",
    "country": "CN",
    "city": "Hangzhou",
    "street": "1 Lake Road",
    "place": {"latitude": 30.2510, "longitude": 120.1640},
}


class Goods(Struct, frozen=True):
    """A SKU of the merchant, and how many could be had before the act."""

    sku_id: str
    title: str
    available: int


class Stage:
    """`bought`: units of each SKU that are gone in the end; `owners`: whose order is whose."""

    def __init__(
        self, shop: Pool, shopper: Shopper, merchant: Person, notices: Notices, goods: Sequence[Goods]
    ) -> None:
        self.shop = shop
        self.shopper = shopper
        self.merchant = merchant
        self.notices = notices
        self.goods = goods
        self.bought: dict[str, int] = {}
        self.owners: dict[str, Person] = {}

    async def cart(self, person: Person, lines: Sequence[tuple[Goods, int]], shipping: str) -> dict[str, Any]:
        """A cart with what it takes to order it. Somebody without a token becomes a guest by it."""
        body = {
            "lines": [{"sku_id": goods.sku_id, "quantity": quantity} for goods, quantity in lines],
            "delivery": {
                "destination": {**HOME, "recipient": person.name},
                "contact_email": person.email,
                "shipping_method": shipping,
            },
        }
        cart = await person.ask("POST", "/v1/carts", body)
        if cart["guest"] is not None:
            person.token, person.account_id = cart["guest"]["token"], cart["guest"]["id"]
        return cart

    async def place(self, person: Person, cart: dict[str, Any]) -> dict[str, Any]:
        """The order, as soon as it stands. Raises ShopFailed."""
        body = {"quote": cart["quote"]["fingerprint"]}
        placing = await person.ask("POST", f"/v1/carts/{cart['id']}/checkout", body)
        order_id = placing["order_id"]

        async def placed() -> bool | None:
            found = await person.ask("GET", f"/v1/checkouts/{order_id}")
            if found["status"] == "failed":
                raise ShopFailed(f"order {order_id} could not be placed: {found['reason']}")
            return True if found["status"] == "placed" else None

        await until(f"order {order_id} being placed", placed)
        self.owners[order_id] = person
        self.notices.expect(person, "order-placed", order_id)
        return await person.ask("GET", f"/v1/orders/{order_id}")

    async def pay(self, person: Person, order: dict[str, Any]) -> dict[str, Any]:
        """Pays at the provider's page; the order, as soon as the shop knows. Raises ShopFailed."""
        slug = await self.shopper.pay_order(person.token, order)
        if slug != "paid":
            raise ShopFailed(f"{person.name} could not pay order {order['id']}: {slug}")
        paid = await order_is(person, order["id"], "paid")
        self.notices.expect(person, "order-paid", order["id"])
        self.notices.expect_of_sold(self.merchant, "paid", order_id=order["id"])
        return paid

    async def on_shelf(self, goods: Goods) -> int:
        """How many of it may be bought now."""
        return (await self.merchant.ask("GET", f"/v1/skus/{goods.sku_id}/availability"))["available"]

    async def shelf_shows(self, goods: Goods, units: int) -> None:
        """Raises ShopFailed if it does not come to that."""

        async def look() -> bool | None:
            return True if await self.on_shelf(goods) == units else None

        await until(f"{goods.title} being available {units} times", look)

    def sold(self, goods: Goods, units: int) -> None:
        """So many units of it are not in stock any more (back again: negative)."""
        self.bought[goods.sku_id] = self.bought.get(goods.sku_id, 0) + units


def quoted(quote: dict[str, Any]) -> str:
    """A quote in words. Raises ShopFailed if it does not add up."""
    parts = {name: quote[name]["amount"] for name in ("subtotal", "shipping", "discount", "total")}
    if parts["subtotal"] + parts["shipping"] - parts["discount"] != parts["total"]:
        raise ShopFailed(f"a quote does not add up: {parts}")
    words = [f"goods {money(quote['subtotal'])}", f"shipping {money(quote['shipping'])}"]
    if parts["discount"]:
        words.append(f"{COUPON} −{money(quote['discount'])}")
    return f"{', '.join(words)}: {money(quote['total'])}"
