"""kill -9 at any moment: after the restart nothing acknowledged is lost, nothing is doubled, and the audit holds.

At random moments of a stampede, and at every named crash point of the code (`DOORBUSTER_CRASH_AT`).
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

import doorbuster
from doorbuster.lab.stampede import Buyer, Ledger, Plan, rush, verify
from journeys.shop import Desk, Shop, desk_at, each, embedded_shop, prepare, provider_of, statement_of, until
from postgres_server import PostgresServer

Kill = Callable[[Shop], Awaitable[None]]
KILLS: dict[str, Kill] = {"front": Shop.kill, "everything": Shop.cut_the_power}
UNITS = 800

log = print


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with embedded_shop(tmp_path) as shop:
        yield shop


# --- at random ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seed", "kill"), [(1, "front"), (2, "everything"), (3, "front")])
async def test_a_kill_at_a_random_moment_of_a_stampede_loses_and_doubles_nothing(
    shop: Shop, seed: int, kill: str
) -> None:
    await stampede_with_a_kill(shop, seed, KILLS[kill])


async def stampede_with_a_kill(shop: Shop, seed: int, kill: Kill) -> None:
    """1,500 buyers, a kill after so many acknowledgements as the seed says, a restart while they go on clicking."""
    await shop.start()
    ledger = Ledger()
    plan = Plan(
        base_url=shop.base_url,
        sale_id=shop.sales["rush"],
        rate_per_s=1_200.0,
        spacing="poisson",
        connections=64,
        timeout_s=10.0,
        seed=seed,
    )
    fatal = random.Random(seed).randint(20, UNITS - 100)
    rushing = asyncio.create_task(rush(plan, shop.buyers()[:1_500], ledger, run_id=f"seed{seed}"))
    await until(lambda: len(ledger) >= fatal or rushing.done(), 20, lambda: len(ledger))
    assert not rushing.done(), "the stampede was over before the kill"
    await kill(shop)
    started_s = await shop.start()
    await rushing
    verification = await verify(plan, ledger)
    recovered_s = await shop.recovered()
    assert (await shop.audit()).everything_holds
    log(f"seed {seed}: killed at {fatal}+ claims, ready {started_s:.2f} s, proven {recovered_s:.2f} s")
    assert verification.ok, verification
    assert (verification.lost, verification.phantom, verification.unknown) == (0, 0, 0)
    await rows_are_what_was_promised(shop, ledger)


async def rows_are_what_was_promised(shop: Shop, ledger: Ledger) -> None:
    """Every promise is one claim of that buyer and one order; and there is no claim that nobody was told of."""
    promised = {int(ack.order_id): int(ack.buyer.customer_id) for ack in ledger.promises()}
    claims = await shop.rows("flash_sale", "SELECT order_id, customer_id, quantity FROM claims")
    assert {order_id: customer_id for order_id, customer_id, _ in claims} == promised
    assert len(claims) == len(set(promised.values())) == UNITS
    ((left,),) = await shop.rows("flash_sale", f"SELECT units_left FROM allotments WHERE units = {UNITS}")
    assert left == 0
    orders = await shop.rows("orders", "SELECT id, customer_id, version FROM orders")
    assert {order_id: customer_id for order_id, customer_id, _ in orders} == promised
    assert {version for _, _, version in orders} == {1}
    assert Counter(await shop.rows("orders", "SELECT n FROM order_moves")) == {(1,): UNITS}


# --- at every named point -------------------------------------------------------------------------------------------

Room = Literal["front", "back"]
Story = Literal["claim", "pay", "refund", "expire"]


@dataclass(frozen=True)
class Crash:
    """Where the process kills itself, in which room that is, and what people have to do for it to get there."""

    point: str
    room: Room
    story: Story
    time: int = 1

    @property
    def crash_at(self) -> str:
        return f"{self.point}:{self.time}"


CRASHES = [
    Crash("claim.written-not-committed", "front", "claim"),
    Crash("claim.committed-not-answered", "front", "claim"),
    # Both rooms follow a claim, so both rooms' relays come by here: they die together.
    Crash("relay.read-not-applied", "front", "claim"),
    Crash("relay.applied", "front", "claim"),
    Crash("orders.inserted-inbox-not-committed", "back", "claim"),
    Crash("orders.paid-not-committed", "back", "pay"),
    Crash("payments.in-progress-committed", "front", "pay", time=2),
    Crash("payments.provider-acted", "front", "pay", time=2),
    Crash("payments.capture-committed", "front", "pay", time=2),
    Crash("payments.refund-acted", "back", "refund"),
    Crash("expiry.provider-asked", "back", "expire"),
    Crash("expiry.committed", "back", "expire"),
]
BUYERS = 6


def test_every_named_crash_point_has_its_crash() -> None:
    """Here, with the whole shop, or in a test of its room, which starts a process of its own."""
    source, tests = Path(doorbuster.__file__).parent, Path(__file__).parents[1]
    named = {
        name for file in source.rglob("*.py") for name in re.findall(r'crash_point\("([^"]+)"\)', file.read_text())
    }
    killing = [text for file in tests.rglob("test_*.py") if "SIGKILL" in (text := file.read_text()) or "die(" in text]
    # In a test it may have a count: "point:3" dies when it comes by for the third time.
    assert {
        name for name in named if not any(re.search(f'"{re.escape(name)}(:[0-9]+)?"', text) for text in killing)
    } == set()
    assert {crash.point for crash in CRASHES} <= named


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.point)
async def test_a_crash_at_a_named_point_loses_and_doubles_nothing(shop: Shop, crash: Crash) -> None:
    await crash_and_recover(shop, crash, shop.buyers()[:BUYERS])


async def crash_and_recover(shop: Shop, crash: Crash, buyers: list[Buyer]) -> None:
    # A front that is to die takes its back room along: in one process, as `serve --no-back-room` has it.
    await shop.start(crash.crash_at, ("--no-back-room",) if crash.room == "front" else ())
    day = Day(shop, crash.story, buyers)
    async with desk_at(shop) as desk:
        living = asyncio.create_task(day.live(desk))
        if crash.room == "front":
            assert await shop.died() == -signal.SIGKILL
        else:
            await shop.back_room_died()
            assert f'"status": {-signal.SIGKILL}' in shop.said()
        living.cancel()
        await asyncio.wait([living])
    told_before = dict(day.orders)
    await shop.cut_the_power()
    started_s = await shop.start()
    async with desk_at(shop) as desk:
        desk.patient = True
        await day.live(desk)
        recovered_s = await shop.recovered()
    log(f"{crash.point}: ready {started_s:.2f} s, proven {recovered_s:.2f} s")
    assert told_before.items() <= day.orders.items(), "an acknowledged claim has become another one"
    await day.prove()


@dataclass
class Day:
    """What the buyers do, as often as it takes: repeating it repeats nothing."""

    shop: Shop
    story: Story
    buyers: list[Buyer]
    orders: dict[str, str] = field(default_factory=dict)
    """The order each customer was told of."""

    @property
    def sale(self) -> str:
        return "hasty" if self.story == "expire" else "desk"

    async def live(self, desk: Desk) -> None:
        """Until everything has come to where it ends, if the shop lives that long."""
        await each(self.buyers, lambda buyer: self._claim(desk, buyer))
        if self.story in ("pay", "refund"):
            await each(self.buyers, lambda buyer: self._pay(desk, buyer))
        if self.story == "refund":
            await each(self.buyers[:3], lambda buyer: self._give_back(desk, buyer))
        if self.story == "expire":
            await each(self.buyers, lambda buyer: desk.comes_to(buyer, self.orders[buyer.customer_id], "cancelled"))

    async def _claim(self, desk: Desk, buyer: Buyer) -> None:
        if order_id := await desk.claim(buyer, self.sale):
            known = self.orders.setdefault(buyer.customer_id, order_id)
            assert known == order_id, "one key, two orders"

    async def _pay(self, desk: Desk, buyer: Buyer) -> None:
        order_id = self.orders[buyer.customer_id]
        await desk.pay(buyer, order_id)
        await desk.comes_to(buyer, order_id, "paid", "refunding", "refunded")

    async def _give_back(self, desk: Desk, buyer: Buyer) -> None:
        order_id = self.orders[buyer.customer_id]
        await desk.cancel(buyer, order_id)
        await desk.comes_to(buyer, order_id, "refunded")

    def ends(self) -> dict[str, str]:
        """Where each customer's order must stand in the end."""
        last = {"claim": "pending_payment", "pay": "paid", "refund": "paid", "expire": "cancelled"}[self.story]
        ends = {buyer.customer_id: last for buyer in self.buyers}
        if self.story == "refund":
            ends |= {buyer.customer_id: "refunded" for buyer in self.buyers[:3]}
        return ends

    async def prove(self) -> None:
        """On the rows, and at the provider: one of each, and every one where it belongs."""
        ours = f"WHERE customer_id IN ({', '.join(buyer.customer_id for buyer in self.buyers)})"
        told = {int(customer_id): int(order_id) for customer_id, order_id in self.orders.items()}
        claims = await self.shop.rows("flash_sale", f"SELECT customer_id, order_id, released_ms FROM claims {ours}")
        assert sorted((customer, order) for customer, order, _ in claims) == sorted(told.items())
        orders = await self.shop.rows("orders", f"SELECT customer_id, id, status, version FROM orders {ours}")
        assert sorted((customer, order) for customer, order, _, _ in orders) == sorted(told.items())
        assert {str(customer): status for customer, _, status, _ in orders} == self.ends()
        released = {order for _, order, released_ms in claims if released_ms is not None}
        assert released == {order for _, order, status, _ in orders if status in ("cancelled", "refunded")}
        moves = Counter(order for (order,) in await self.shop.rows("orders", "SELECT order_id FROM order_moves"))
        assert {order: moves[order] for _, order, _, _ in orders} == {order: moved for _, order, _, moved in orders}
        await self._prove_money({str(order): status for _, order, status, _ in orders})

    async def _prove_money(self, status_of: dict[str, str]) -> None:
        assert self.shop.simulator is not None
        moved = Counter(line for line in await statement_of(self.shop.simulator) if line[1] in status_of)
        expected = [("capture", order) for order, status in status_of.items() if status in ("paid", "refunded")]
        expected += [("refund", order) for order, status in status_of.items() if status == "refunded"]
        assert moved == Counter(expected)
        payments = await self.shop.rows("payments", "SELECT order_id, status FROM payments")
        of_ours = [(str(order), status) for order, status in payments if str(order) in status_of]
        ends = {"paid": "captured", "refunded": "refunded"}
        assert sorted(of_ours) == sorted((order, ends[status]) for order, status in status_of.items() if status in ends)


# --- on PostgreSQL --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def shop_on_postgres(postgres: PostgresServer, folder: Path) -> AsyncIterator[Shop]:
    async with postgres.fresh_database() as url:
        shop = Shop(folder / "data", url)
        shop.folder.mkdir()
        await prepare(shop, ("rush", "desk"))
        shop.simulator = provider_of(shop, folder / "provider.sqlite").start()
        try:
            yield shop
        finally:
            await shop.cut_the_power()
            shop.simulator.kill()


async def test_on_postgres_kills_and_crashes_lose_and_double_nothing_either(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """One shop through it all: killed in a stampede, then crashed at the points where its transactions matter."""
    points = ("claim.committed-not-answered", "orders.inserted-inbox-not-committed")
    async with shop_on_postgres(postgres, tmp_path) as shop:
        await stampede_with_a_kill(shop, 4, Shop.cut_the_power)
        await shop.stop()
        rested = shop.buyers()[1_500:]
        for crash in (crash for crash in CRASHES if crash.point in points):
            buyers, rested = rested[:BUYERS], rested[BUYERS:]
            await crash_and_recover(shop, crash, buyers)
            await shop.stop()
