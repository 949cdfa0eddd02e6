"""A takeout order: accepted, prepared, offered to couriers one after the other, carried across the map, delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from msgspec import Struct

from doorbuster.lab.demo.people import Person, order_is, until
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.demo.sockets import ITEMS_MAX, Listener
from doorbuster.lab.demo.stage import HOME, TAKEOUT, Goods, Stage, quoted
from doorbuster.lab.demo.view import Teller

SHOP_AT = {"latitude": 30.2450, "longitude": 120.1550}
CORNERS = ({"latitude": 30.2452, "longitude": 120.1552}, {"latitude": 30.2490, "longitude": 120.1500})
"""Where the couriers wait."""
STEPS = 8
PACE_S = 0.25
STATUSES = ("waiting", "preparing", "ready", "assigned", "picked_up", "delivered")


class Ride(Struct, frozen=True):
    """What was reported, and what the customer saw of it."""

    offers: int = 0
    expired: int = 0
    positions_sent: int = 0
    positions_seen: int = 0
    statuses: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Everything of the way was seen, in its order, by one who watched from the beginning."""
        return (
            self.offers == 2
            and self.expired == 1
            and self.positions_sent == self.positions_seen > 0
            and (tuple(self.statuses) == STATUSES)
        )


async def takeout(stage: Stage, guest: Person, hiring: Awaitable[Sequence[Person]], goods: Goods, tell: Teller) -> Ride:
    """Something to nibble for a guest; the couriers come while it is ordered. Raises ShopFailed."""
    merchant, notices = stage.merchant, stage.notices
    await merchant.ask("PUT", "/v1/merchant/place", SHOP_AT)
    cart = await stage.cart(guest, [(goods, 1)], TAKEOUT)
    tell(f"{guest.name} (guest) wants 1 × {goods.title} brought: {quoted(cart['quote'])}")
    order = await stage.pay(guest, await stage.place(guest, cart))
    order_id = order["id"]
    stage.sold(goods, 1)
    tell(f"order {order_id} is paid; {guest.name} watches it live over WebSocket")
    async with Listener(stage.shop, guest, f"/v1/orders/{order_id}/live/socket") as watching:
        for step in ("accept", "ready"):
            await _when_known(merchant, f"/v1/orders/{order_id}/delivery/{step}")
        tell("the merchant accepts it, prepares it, it is ready to be fetched")
        courier = await _offered(stage, await hiring, order_id, tell)
        sent = await _ride(courier, order_id, tell)
        await order_is(guest, order_id, "completed")
        seen = await _seen(watching, sent)
    notices.expect(guest, "courier-assigned", order_id)
    notices.expect(guest, "order-shipped", order_id)
    notices.expect(guest, "order-delivered", order_id)
    notices.expect(guest, "order-completed", order_id)
    notices.expect_of_sold(merchant, "shipped", "completed", order_id=order_id)
    positions = {(item["latitude"], item["longitude"]) for item in seen if item["type"] == "position"}
    statuses = [item["status"] for item in seen if item["type"] == "status"]
    tell(f"delivered; {guest.name} saw {len(positions)} of {sent} positions and {' → '.join(statuses)}")
    return Ride(2, 1, sent, len(positions), statuses)


async def _when_known(merchant: Person, path: str) -> None:
    """Delivery hears of a paid order by an event: a moment later than its customer."""

    async def look() -> bool | None:
        status, answer = await merchant.try_to("POST", path)
        if status < 300:
            return True
        if status != 404:
            raise ShopFailed(f"POST {path} was answered {status}: {answer}")
        return None

    await until(f"POST {path}", look)


async def _offered(stage: Stage, couriers: Sequence[Person], order_id: str, tell: Teller) -> Person:
    """The first who is asked lets it pass; the second takes it. Who that is, the dispatcher decides."""
    for courier, corner in zip(couriers, CORNERS, strict=True):
        await courier.ask("PUT", "/v1/courier/presence", {"online": True})
        await courier.ask("POST", "/v1/courier/positions", {"positions": [corner]})
    tell(f"the couriers {' and '.join(each.name for each in couriers)} come online")
    asked, offer = await _asked(couriers, order_id)
    stage.notices.expect(asked, "offer-made", order_id)
    other = next(each for each in couriers if each is not asked)
    if await _offer_of(other) is not None and await _offer_of(asked) is not None:
        raise ShopFailed(f"{other.name} is asked too, although an offer is exclusive")
    tell(f"{asked.name} alone is asked, {offer['distance_m']} m away, and lets the offer expire")
    taker, second = await _asked([other], order_id)
    stage.notices.expect(taker, "offer-made", order_id)
    status, answer = await asked.try_to("POST", f"/v1/courier/offers/{offer['id']}/accept")
    if (status, answer.get("slug")) != (409, "offer-gone"):
        raise ShopFailed(f"an expired offer was answered {status}: {answer}")
    await taker.ask("POST", f"/v1/courier/offers/{second['id']}/accept")
    tell(f"now {taker.name} is asked and takes it; {asked.name} is too late: offer-gone")
    return taker


async def _asked(couriers: Sequence[Person], order_id: str) -> tuple[Person, dict[str, Any]]:
    async def look() -> tuple[Person, dict[str, Any]] | None:
        for courier in couriers:
            offer = await _offer_of(courier)
            if offer is not None and offer["order_id"] == order_id:
                return courier, offer
        return None

    return await until(f"an offer of order {order_id}", look)


async def _offer_of(courier: Person) -> dict[str, Any] | None:
    return (await courier.ask("GET", "/v1/courier/offer"))["offer"]


async def _ride(courier: Person, order_id: str, tell: Teller) -> int:
    """From the shop's counter to the door. Returns how many positions were reported on the way."""
    task = f"/v1/courier/tasks/{order_id}"
    await courier.ask("POST", f"{task}/pick-up")
    tell(f"{courier.name} picks it up and walks")
    there, home = SHOP_AT, HOME["place"]
    assert isinstance(home, dict)
    for step in range(1, STEPS + 1):
        part = step / STEPS
        at = {name: round(there[name] + part * (home[name] - there[name]), 6) for name in there}
        await courier.ask("POST", "/v1/courier/positions", {"positions": [at]})
        await asyncio.sleep(PACE_S)
    await courier.ask("POST", f"{task}/deliver")
    return STEPS


async def _seen(watching: Listener, sent: int) -> Sequence[dict[str, Any]]:
    """What came over the live stream up to the end of the delivery."""
    seen: list[dict[str, Any]] = []
    while len(seen) < ITEMS_MAX:
        message = await watching.next()
        if message["type"] != "item":
            raise ShopFailed(f"the live stream of an order said {message}")
        seen.append(message["item"])
        if seen[-1].get("status") == "delivered":
            return seen
    raise ShopFailed(f"the live stream said {len(seen)} things of {sent} positions and has no end")
