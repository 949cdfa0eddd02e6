"""The first act: a flash sale, from the import of the goods to the last unpaid unit that came back."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from doorbuster.kernel.clock import parse_rfc3339, rfc3339
from doorbuster.lab.demo.people import Person
from doorbuster.lab.demo.shop_process import ShopProcess
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.demo.staff import hire
from doorbuster.lab.demo.view import LiveView, Teller, step
from doorbuster.lab.stampede import Ack, Buyer, Ledger, Plan, Pool, Verification, latecomers, load_buyers, rush, verify

OPENS_IN_S = 4.0
STAMPEDE_S = 5.0
PAY_WITHIN_S = 12
PATIENCE_S = 18.0
"""How long latecomers stay, whatever happens: long enough to see unpaid units come back once."""
LATECOMERS = 1_000
SETTLE_S = 20.0
NEVER_PAYS_ONE_IN = 10
STOCK = 200
"""Units of every SKU on the shelves; the sale's come on top."""
ADMIN = ("the admin", "admin@doorbuster.example")
MERCHANT = ("the merchant", "merchant@doorbuster.example")


class FirstAct:
    """Prepared, rushed, settled and verified, in this order."""

    def __init__(self, units: int, seed: int, shop: ShopProcess, console: Console, password: str) -> None:
        self._units = units
        self._seed = seed
        self._shop = shop
        self._console = console
        self._password = password
        self._chance = random.Random(seed)
        self._ledger = Ledger()
        self._buyers: Sequence[Buyer] = ()
        self._plan: Plan | None = None

    async def prepare(self, http: Pool, buyers: int) -> tuple[Person, Person]:
        """Staff, goods, buyers and the sale, up to its opening. Returns merchant and admin. Raises ShopFailed."""
        admin, merchant, self._buyers = await asyncio.gather(
            hire(self._shop, http, "admin", *ADMIN, self._password),
            self._import(http),
            self._create_buyers(buyers),
        )
        sale = await self._announce_sale(admin)
        self._plan = Plan(
            base_url=self._shop.base_url,
            sale_id=sale["id"],
            rate_per_s=len(self._buyers) / STAMPEDE_S,
            spacing="poisson",
            seed=self._seed,
        )
        await self._count_down(parse_rfc3339(sale["opens_at"]))
        return merchant, admin

    async def rush(self) -> None:
        """Everybody at once."""
        words = "one in five double-clicks, one in twenty cheats"
        step(self._console, f"{len(self._buyers)} buyers arrive within {STAMPEDE_S:.0f} s; {words}")
        with LiveView(self._console, self._units) as view:
            load = await rush(self._planned, self._buyers, self._ledger, view.progress)
        refused = ", ".join(f"{count} {slug}" for slug, count in sorted(load.refused_by_slug.items()))
        step(
            self._console,
            f"{load.sent} requests: {load.claimed} claims, {load.replayed} repeated answers, {refused}; "
            f"{load.errors} errors, {load.unknown} unknown; p50 {load.p50_ms:.0f} ms, p99 {load.p99_ms:.0f} ms",
        )

    async def settle(self, shopper: Shopper) -> Mapping[str, int]:
        """Winners pay, or do not; what comes back goes to latecomers. Returns the orders by status."""
        tell = Teller("sale", self._console)
        paying = self._pay_first_wave(shopper, tell)
        empty_handed = self._ledger.empty_handed()
        staying = self._chance.sample(empty_handed, min(LATECOMERS, len(empty_handed)))
        tell(f"{len(staying)} of those who got nothing keep watching for {PATIENCE_S:.0f} s")

        def pay(ack: Ack) -> None:
            paying.append(asyncio.create_task(shopper.pay(ack)))

        late = await latecomers(self._planned, staying, PATIENCE_S, pay, ledger=self._ledger)
        tell(f"unpaid units came back: latecomers claimed {late.claimed} in {late.tries} tries")
        slugs = await asyncio.gather(*paying)
        tell(f"{sum(slug == 'paid' for slug in slugs)} winners have paid; waiting for the callbacks")
        return await shopper.wait_settled(self._ledger.promises(), SETTLE_S)

    async def verify(self) -> Verification:
        """Asks the public API for everything that was promised."""
        return await verify(self._planned, self._ledger)

    @property
    def order_ids(self) -> frozenset[str]:
        """The sale's."""
        return frozenset(ack.order_id for ack in self._ledger.promises())

    @property
    def _planned(self) -> Plan:
        assert self._plan is not None, "it is prepared first"
        return self._plan

    async def _import(self, http: Pool) -> Person:
        merchant = await hire(self._shop, http, "merchant", *MERCHANT, self._password)
        words = ("import", "--sample", "--merchant", merchant.account_id, "--stock", str(STOCK))
        imported = await self._shop.command(*words)
        step(self._console, f"The merchant imports {imported['created']} products, {STOCK} units of each SKU")
        return merchant

    async def _create_buyers(self, count: int) -> Sequence[Buyer]:
        file = self._shop.folder / "buyers.jsonl"
        created = await self._shop.command("buyers", "create", str(count), "--out", str(file))
        step(self._console, f"{created['created']} buyers have registered, each with a token of their own")
        return load_buyers(file)

    async def _announce_sale(self, admin: Person) -> dict[str, Any]:
        """The shop engineer's part: receives the goods, and schedules the sale over the API."""
        products = (await admin.ask("GET", "/v1/products?limit=100"))["items"]
        sku = self._chance.choice(products)["skus"][0]
        await self._shop.command("stock", "receive", "--sku", sku["id"], "--units", str(self._units))
        opens_ms = time.time_ns() // 1_000_000 + int(OPENS_IN_S * 1000)
        terms = {
            "sku_id": sku["id"],
            "units": self._units,
            "price": {**sku["price"], "amount": max(1, sku["price"]["amount"] // 2)},
            "limit_per_customer": 1,
            "opens_at": rfc3339(opens_ms),
            "closes_at": rfc3339(opens_ms + 3_600_000),
            "pay_within_s": PAY_WITHIN_S,
        }
        sale = await admin.ask("POST", "/v1/sales", terms)
        step(self._console, f"The admin announces a sale: {self._units} × {sale['title']}, one per customer")
        return sale

    async def _count_down(self, opens_ms: int) -> None:
        while (left_ms := opens_ms - time.time_ns() // 1_000_000) > 0:
            self._console.print(f"    opens in {-(-left_ms // 1000)} s")
            await asyncio.sleep(min(1.0, left_ms / 1000))

    def _pay_first_wave(self, shopper: Shopper, tell: Teller) -> list[asyncio.Task[str]]:
        winners = self._ledger.promises()
        never = set(self._chance.sample(range(len(winners)), len(winners) // NEVER_PAYS_ONE_IN))
        tell(
            f"{len(winners) - len(never)} winners go to the cash desk, {len(never)} never pay; "
            f"callbacks come late, twice, out of order and forged"
        )
        return [asyncio.create_task(shopper.pay(ack)) for number, ack in enumerate(winners) if number not in never]
