"""The third act: a sale behind a waiting room, at ten times the capacity, with bots, while things break."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

from rich.console import Console

from doorbuster.kernel.clock import rfc3339
from doorbuster.lab.demo.door.buying import Buying
from doorbuster.lab.demo.door.cast import Cast, Place, Visitor
from doorbuster.lab.demo.door.controls import LIMIT, SETTINGS, SHEDDING, Controls
from doorbuster.lab.demo.door.following import Room
from doorbuster.lab.demo.door.judging import Played, judged
from doorbuster.lab.demo.door.load import CLOSED_CONNECTIONS, Load
from doorbuster.lab.demo.door.outcome import Door
from doorbuster.lab.demo.door.trouble import Trouble
from doorbuster.lab.demo.door.view import DoorView
from doorbuster.lab.demo.door.waiting import beside, orders_settled
from doorbuster.lab.demo.people import Person, until
from doorbuster.lab.demo.shop_process import ShopFailed, ShopProcess
from doorbuster.lab.demo.shoppers import Shopper
from doorbuster.lab.demo.view import Teller, step
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.stampede import Buyer, LaneLimits, Pool, StampedeError, load_buyers
from doorbuster.lab.stampede.target import parse_target

MULTIPLE = 10
WARM_UP_S, MEASURED_S, MEASURED_AFTER_S = 0.4, 1.5, 1.0
OPENS_IN_S, PAY_WITHIN_S = 4.0, 8
RUSH_S_MAX, SETTLE_S_MAX = 25.0, 60.0
LULL = 0.2
"""Of capacity: who still waits goes on looking, until everything is sold and paid."""
TAKERS, TICKET_TRIES, TICKET_PAUSE_S = 32, 200, 0.05
LATE_ONE_IN = 15
"""Visitors who come after the opening, and stand behind those drawn by lot."""
PLACES = 3
"""Times the units: so many places of the draw may come to something."""
PRODUCTS = 50
BUYERS = LaneLimits(connections=64, waiting=2_048, timeout_s=6.0, wait_s=3.0)
PROVIDER = LaneLimits(connections=32, waiting=2_048, timeout_s=5.0, wait_s=0.5)


class DoorAct:
    """Played, and judged. `simulator` is the provider's process, `misbehaviour` how it is anyway."""

    def __init__(
        self,
        shop: ShopProcess,
        simulator: SimulatorProcess,
        misbehaviour: Mapping[str, Any],
        console: Console,
        admin: Person,
        units: int,
        seed: int,
    ) -> None:
        self._shop, self._simulator, self._misbehaviour = shop, simulator, misbehaviour
        self._console, self._admin = console, admin
        self._units, self._seed = units, seed
        self._tell = Teller("door", console)
        self._crowd: Sequence[Buyer] = ()
        self._played: Played | None = None
        self._problems: list[str] = []

    async def prepare(self, accounts: int) -> None:
        """Creates the crowd's accounts. Raises ShopFailed."""
        if not accounts:
            return
        file = self._shop.folder / "crowd.jsonl"
        await self._shop.command("buyers", "create", str(accounts), "--out", str(file))
        self._crowd = load_buyers(file)

    async def play(self) -> None:
        """What goes wrong is kept for the verdict."""
        try:
            async with Pool(self._shop.base_url, BUYERS) as http, Pool(self._simulator.base_url, PROVIDER) as provider:
                await self._play(http, Shopper(http, provider))
        except (ShopFailed, StampedeError) as error:
            self._problems.append(str(error))
            self._tell(f"broke off: {error}")

    async def judge(self) -> Door:
        """Raises ShopFailed, also if it broke off before the crowd came."""
        if self._played is None:
            raise ShopFailed(f"the third act broke off: {'; '.join(self._problems)}")
        return await judged(self._played, self._problems, self._shop.base_url, self._simulator.base_url)

    async def _play(self, http: Pool, shopper: Shopper) -> None:
        controls = Controls(http, self._admin)
        await controls.set("a crowd is expected", SETTINGS)
        place, opens_s = await self._announce()
        cast = Cast(self._crowd, place, parse_target(self._shop.base_url), self._seed)
        late = cast.people[::LATE_ONE_IN]
        lot = [visitor for visitor in cast.everybody if visitor not in late]
        await _take_tickets(http, place, lot)
        words = f"{len(cast.people)} people and {len(cast.bots)} bots; {len(lot)} have a ticket before it opens"
        self._tell(f"{words}, the rest comes later")
        buying = Buying(place.sale_id, self._units, http, shopper, self._seed)
        played = self._played = Played(cast, buying, self._units)
        try:
            await self._measure(played)
            await controls.set("the crowd is here", SHEDDING)
            room = await self._rush(played, controls, _come_late(http, place, late, opens_s))
            await controls.set("the crowd has gone", dict.fromkeys((*SHEDDING, LIMIT)))
            played.loaded = await controls.loads()
            await self._settle(played, room, http)
            played.breaker = await controls.breaker()
            played.capacity_after = await self._capacity(played, MEASURED_AFTER_S)
        finally:
            await buying.close()
            await controls.set("as it was", dict.fromkeys((*SETTINGS, *SHEDDING, LIMIT)))
            if played.trouble is not None and not played.trouble.over:
                await asyncio.to_thread(self._simulator.restart)  # whatever it was in the middle of

    async def _announce(self) -> tuple[Place, float]:
        """A sale of what is on the shelf, and the room before it. Also when it opens, by time.time()."""
        products = (await self._admin.ask("GET", f"/v1/products?limit={PRODUCTS}"))["items"]
        sku = products[-1]["skus"][-1]
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
        sale = await self._admin.ask("POST", "/v1/sales", terms)
        await self._admin.ask("PUT", f"/v1/sales/{sale['id']}/waiting-room", {"enabled": True})
        step(self._console, f"Another sale, {self._units} × {sale['title']}: this one has a waiting room")
        return Place(sale["id"], [product["id"] for product in products]), opens_ms / 1000

    async def _measure(self, played: Played) -> None:
        await self._capacity(played, WARM_UP_S)
        played.capacity_before = await self._capacity(played, MEASURED_S)
        answers, good = played.capacity_before
        words = "goods, the sale, one's place; a tenth from bots, who ask ten times as often and try to claim"
        self._tell(f"capacity {answers:.0f} answers/s on {CLOSED_CONNECTIONS} connections without a pause: {words}")
        step(self._console, f"{MULTIPLE} times as much from now on, {answers * MULTIPLE:.0f} requests a second")
        self._tell(f"goodput: what people asked for and got within a second; {good:.0f}/s of the capacity")

    async def _capacity(self, played: Played, seconds: float) -> tuple[float, float]:
        """Answers a second, and those of them that are goodput."""
        load = self._load(played)
        took_s = await load.closed(seconds)
        return load.counts.answered / took_s, load.counts.good / took_s

    def _load(self, played: Played) -> Load:
        return Load(played.cast, parse_target(self._shop.base_url), played.buying.admitted)

    async def _rush(self, played: Played, controls: Controls, coming_late: Coroutine[Any, Any, None]) -> Room:
        load = played.load = self._load(played)
        trouble = played.trouble = Trouble(controls, self._simulator, load.counts, self._tell)
        room = Room(played.cast, lambda path: controls.ask("GET", path), played.units * PLACES)
        played.offered = played.capacity_before[0] * MULTIPLE
        tickets = len(played.cast.everybody)
        over = asyncio.Event()

        async def suffer() -> None:
            await until("anybody being let in", played.somebody_is_in)
            await trouble.play(played.capacity_before[0] / tickets, self._misbehaviour)

        with DoorView(self._console, load, played.buying, room, lambda: trouble.breaker[0]) as view:
            view.offered_per_s = played.offered
            offering = asyncio.create_task(load.open(played.offered, played.capacity_before[0], over, RUSH_S_MAX))
            try:
                await beside(suffer(), room.follow(), room.keep(), trouble.watch(), view.keep(), coming_late)
            finally:
                over.set()
                played.lasted_s = await offering
        return room

    async def _settle(self, played: Played, room: Room, http: Pool) -> None:
        """Who still waits goes on looking; until every unit is sold and paid for, or time is up."""
        over = asyncio.Event()
        capacity = played.capacity_before[0]
        lull = asyncio.create_task(self._load(played).open(capacity * LULL, capacity, over, SETTLE_S_MAX))
        self._tell("the crowd goes; unpaid units come back for those who wait")

        async def settle() -> None:
            played.orders = await orders_settled(http, played.buying.ledger.promises, played.units, SETTLE_S_MAX)

        try:
            await beside(settle(), room.follow(), room.keep())  # the rush may have left no time to read the draw
        finally:
            over.set()
            await lull
        counts = ", ".join(f"{number} {status}" for status, number in sorted(played.orders.items()))
        self._tell(f"orders: {counts}")


async def _take_tickets(http: Pool, place: Place, visitors: Sequence[Visitor]) -> None:
    """For all of them, as many at once as there are connections. Raises ShopFailed."""
    queue = iter(visitors)

    async def take() -> None:
        for visitor in queue:
            headers = {"Authorization": f"Bearer {visitor.buyer.token}", "Idempotency-Key": "ticket"}
            for _ in range(TICKET_TRIES):
                answer = await http.request("POST", f"/v1/sales/{place.sale_id}/waiting-room/tickets", headers)
                if answer.status == 201:
                    visitor.ticket_id = answer.json(dict[str, Any])["ticket_id"]
                    break
                if answer.status not in (429, 503):
                    raise ShopFailed(f"a ticket was answered {answer.status}: {answer.body[:300]!r}")
                await asyncio.sleep(TICKET_PAUSE_S)
            else:
                raise ShopFailed(f"no ticket in {TICKET_TRIES} tries")

    await asyncio.gather(*(take() for _ in range(TAKERS)))


async def _come_late(http: Pool, place: Place, visitors: Sequence[Visitor], opens_s: float) -> None:
    await asyncio.sleep(max(0.0, opens_s + 0.2 - time.time()))
    await _take_tickets(http, place, visitors)
