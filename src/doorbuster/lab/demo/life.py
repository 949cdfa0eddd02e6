"""The second act: every order's whole life, told by its scenes, and held against stock, money and mailboxes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from rich.console import Console

from doorbuster.kernel.clock import rfc3339
from doorbuster.lab.demo.mail import Mailboxes
from doorbuster.lab.demo.notices import Notices, Notified
from doorbuster.lab.demo.parcel import parcel
from doorbuster.lab.demo.people import Person
from doorbuster.lab.demo.returns import returns
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.demo.staff import hire
from doorbuster.lab.demo.stage import COUPON, PARCEL, TAKEOUT, Goods, Stage
from doorbuster.lab.demo.statement import net_by_order
from doorbuster.lab.demo.support import Chat, support
from doorbuster.lab.demo.takeout import Ride, takeout
from doorbuster.lab.demo.view import Teller
from doorbuster.lab.demo.webhooks import MerchantServer
from doorbuster.lab.stampede import Pool, StampedeError

AGENT = ("Nora", "support@doorbuster.example")
COURIERS = (("Ada", "ada@courier.example"), ("Bo", "bo@courier.example"))
CATEGORIES = ("tea", "tableware", "snacks", "stationery", "bags")
ENDS = {"completed": 2, "cancelled": 1, "refunded": 1}

T = TypeVar("T")


class Life(Struct, frozen=True):
    """What became of the second act. `stock`, `money`: what differs, in words."""

    ok: bool
    orders: Mapping[str, int]
    stock: Sequence[str]
    money: Sequence[str]
    delivery: Ride
    support: Chat
    notifications: Notified
    problems: Sequence[str]

    @property
    def orders_ok(self) -> bool:
        return self.orders == ENDS

    @classmethod
    def of(
        cls,
        orders: Mapping[str, int],
        stock: Sequence[str],
        money: Sequence[str],
        delivery: Ride,
        support: Chat,
        notifications: Notified,
        problems: Sequence[str],
    ) -> Life:
        wrong = stock or money or problems
        ok = not wrong and orders == ENDS and delivery.ok and support.ok and notifications.ok
        return cls(ok, dict(orders), stock, money, delivery, support, notifications, tuple(problems))


class SecondAct:
    """Played, and judged. `staff`: the merchant, whose goods are sold, and the admin; all staff have `password`."""

    def __init__(
        self,
        shop: ShopProcess,
        mailboxes: Mailboxes,
        server: MerchantServer,
        console: Console,
        staff: tuple[Person, Person],
        password: str,
    ) -> None:
        self._shop = shop
        self._mailboxes = mailboxes
        self._server = server
        self._console = console
        self._merchant, self._admin = staff
        self._password = password
        self._stage: Stage | None = None
        self._problems: list[str] = []
        self._ride, self._chat = Ride(), Chat()

    async def play(self, http: Pool, shopper: Shopper) -> None:
        """All scenes at the same time, as in a shop. What goes wrong is kept for the verdict."""
        opened = await self._guarded("opening", self._open(http, shopper))
        if opened is None:
            return
        stage, mei, jan = opened
        tom = Person(http, "Tom", "tom@guest.example")
        tea, mug, nuts, notebook, bag = stage.goods
        agent = asyncio.create_task(self._agent(stage))
        couriers = asyncio.create_task(self._couriers(stage))
        try:
            ride, chat, _, _ = await asyncio.gather(
                self._guarded("takeout", takeout(stage, tom, couriers, nuts, self._teller("takeout"))),
                self._guarded("support", support(stage, jan, agent, self._teller("support"))),
                self._guarded("parcel", parcel(stage, mei, tea, mug, self._teller("parcel"))),
                self._guarded("returns", returns(stage, jan, notebook, bag, self._teller("returns"))),
            )
        finally:
            agent.cancel()
            couriers.cancel()
            await asyncio.gather(agent, couriers, return_exceptions=True)  # who waited for them has told what failed
        self._ride, self._chat = ride or Ride(), chat or Chat()
        told = await stage.notices.wait()
        self._teller("post")(
            f"{told.in_app} notifications in the app, {told.email} e-mails over SMTP, {told.webhook} signed webhooks; "
            f"the merchant's server refused the very first one, and got it again"
        )

    async def judge(self, simulator_url: str) -> Life:
        """Looks once more at everything from outside."""
        stage, problems = self._stage, self._problems
        if stage is None:
            return Life.of({}, (), (), self._ride, self._chat, Notified.of(Counter(), Counter()), problems)
        orders = [await owner.ask("GET", f"/v1/orders/{order_id}") for order_id, owner in stage.owners.items()]
        return Life.of(
            orders=Counter(order["status"] for order in orders),
            stock=await _stock(stage),
            money=_money(orders, await net_by_order(simulator_url)),
            delivery=self._ride,
            support=self._chat,
            notifications=await stage.notices.look(),
            problems=problems,
        )

    async def _agent(self, stage: Stage) -> Person:
        return await self._hired(stage, "support", *AGENT)

    async def _couriers(self, stage: Stage) -> Sequence[Person]:
        return await asyncio.gather(*(self._hired(stage, "courier", *courier) for courier in COURIERS))

    async def _hired(self, stage: Stage, role: str, name: str, email: str) -> Person:
        """Staff comes by the command line, while customers are already shopping."""
        person = await hire(self._shop, stage.shop, role, name, email, self._password)
        stage.notices.expect(person, "welcome")
        return person

    async def _open(self, http: Pool, shopper: Shopper) -> tuple[Stage, Person, Person]:
        """Customers register; the merchant says how things are sent, at which discount, and where webhooks go."""
        mei, jan = await asyncio.gather(
            Person.register(http, "Mei", "mei@customer.example"), Person.register(http, "Jan", "jan@customer.example")
        )
        await mei.ask("PUT", "/v1/me/notification-preferences", {"locale": "zh"})
        channels = (await jan.ask("GET", "/v1/me/notification-preferences"))["channels"]
        notices = Notices(channels, self._mailboxes, self._server)
        for person in (mei, jan, self._merchant, self._admin):
            notices.expect(person, "welcome")
        await _terms(self._merchant, self._server)
        goods = [await _goods(mei, category) for category in CATEGORIES]
        self._stage = Stage(http, shopper, self._merchant, notices, goods)
        return self._stage, mei, jan

    async def _guarded(self, scene: str, work: Awaitable[T]) -> T | None:
        """A scene that breaks is a line of the verdict and lets the others end."""
        try:
            return await work
        except (ShopFailed, StampedeError) as error:
            self._problems.append(f"{scene}: {error}")
            self._teller(scene)(f"broke off: {error}")
            return None

    def _teller(self, scene: str) -> Teller:
        return Teller(scene, self._console)


async def _terms(merchant: Person, server: MerchantServer) -> None:
    now_ms = time.time_ns() // 1_000_000
    express = {"name": "Express", "currency": "CNY", "fee": 1200, "free_from": 50_000}
    courier = {"name": "By courier", "fulfilment": "takeout", "currency": "CNY", "fee": 600}
    coupon = {
        "code": COUPON,
        "kind": "percent",
        "percent": 10,
        "currency": "CNY",
        "valid_from": rfc3339(now_ms - 60_000),
        "valid_to": rfc3339(now_ms + 3_600_000),
        "customer_limit": 1,
    }
    await merchant.ask("PUT", f"/v1/shipping-methods/{PARCEL}", express)
    await merchant.ask("PUT", f"/v1/shipping-methods/{TAKEOUT}", courier)
    await merchant.ask("POST", "/v1/coupons", coupon)
    endpoint = await merchant.ask("POST", "/v1/webhook-endpoints", {"url": server.url})
    server.secret, server.merchant = endpoint["secret"], merchant.email


async def _goods(person: Person, category: str) -> Goods:
    product = (await person.ask("GET", f"/v1/products?limit=1&category={category}"))["items"][0]
    sku_id = product["skus"][0]["id"]
    available = (await person.ask("GET", f"/v1/skus/{sku_id}/availability"))["available"]
    return Goods(sku_id, product["title"]["en"], available)


async def _stock(stage: Stage) -> Sequence[str]:
    """What is on the shelf now: what was there, less what was bought and kept."""
    wrong: list[str] = []
    for goods in stage.goods:
        expected, there = goods.available - stage.bought.get(goods.sku_id, 0), await stage.on_shelf(goods)
        if there != expected:
            wrong.append(f"{goods.title}: {there} available, {expected} expected")
    return wrong


def _money(orders: Sequence[dict[str, Any]], net: Mapping[str, int]) -> Sequence[str]:
    """What the provider holds of each order: its total less what was refunded; nothing of an unpaid one."""
    wrong: list[str] = []
    for order in orders:
        kept = order["total"]["amount"] - order["refunded"]["amount"] if order["payment_id"] else 0
        if net.get(order["id"], 0) != kept:
            wrong.append(f"order {order['id']}: {kept} here, {net.get(order['id'], 0)} at the provider")
    return wrong
