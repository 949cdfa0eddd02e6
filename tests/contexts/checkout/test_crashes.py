"""Killed between any two steps: what was begun is carried on or taken back, and every side agrees."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from contexts.checkout.crash_child import Job
from contexts.checkout.neighbours import RARE, TEA
from contexts.checkout.placing_shop import PlacingShop
from doorbuster.contexts.checkout.model import Shown
from doorbuster.contexts.checkout.saga import LEASE_MS, RETRY_MS, WATCH_MS
from doorbuster.contexts.checkout.tables import checkouts, coupons
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.principal import Principal
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.telemetry.crash_points import VARIABLE

CHILD = Path(__file__).parent / "crash_child.py"
TESTS = Path(__file__).parents[2]
LIMIT_MS = 30_000


class Crashing:
    """A shop whose work is done by children that die."""

    def __init__(self, shop: PlacingShop, folder: Path, url: str) -> None:
        self.shop, self._folder, self._url = shop, folder, url

    async def die(self, at: str, what: str, who: Principal, shown: Shown, of_id: int | None = None) -> None:
        """Runs a child until it is killed at the crash point `at`."""
        assert shown.quote is not None
        now_ms = self.shop.clock.now_ms()
        job = Job(what, str(self._folder), self._url, now_ms, who, of_id or shown.cart.id, shown.quote.fingerprint)
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHILD),
            msgspec.json.encode(job).decode(),
            env={**os.environ, VARIABLE: at, "PYTHONPATH": str(TESTS)},
        )
        assert await child.wait() == -signal.SIGKILL, f"it did not come to {at}"

    async def customer_with_coupon(self, *lines: tuple[int, int]) -> tuple[Principal, Shown]:
        await self.shop.coupon(total_limit=1, customer_limit=1)
        who = self.shop.customer()
        return who, await self.shop.with_coupon(who, *lines)

    async def sweep(self) -> None:
        self.shop.manual.advance(LEASE_MS + 1)
        assert await self.shop.built.saga.sweep() == 1

    async def stage(self) -> str:
        (row,) = await self.shop.rows(checkouts)
        return row.status


@pytest.fixture
def crashing(shop: PlacingShop, tmp_path: Path, database_settings: DatabaseSettings) -> Crashing:
    return Crashing(shop, tmp_path, database_settings.url)


@pytest.mark.parametrize("by", ["the sweeper", "its shopper"])
@pytest.mark.parametrize(
    "point",
    ["checkout.written-not-committed", "checkout.begun", "checkout.held", "checkout.ordered", "checkout.placed"],
)
async def test_a_killed_placing_ends_as_one_order(crashing: Crashing, point: str, by: str):
    shop = crashing.shop
    who, shown = await crashing.customer_with_coupon((TEA, 2))
    await crashing.die(point, "place", who, shown)
    begun = point != "checkout.written-not-committed"
    assert len(await shop.rows(checkouts)) == begun
    if begun and point != "checkout.placed":
        assert (await shop.place(who, shown, key="key")).status == "placing"
        if by == "the sweeper":
            await crashing.sweep()
    placed = await shop.place(who, shown, key="key")
    if placed.status == "placing":
        await crashing.sweep()
    assert await crashing.stage() == "placed"
    assert list(shop.orders.all) == list(shop.warehouse.all_holds) == [placed.id]
    assert shop.warehouse.all_holds[placed.id].status == "held"
    await shop.sound()


async def test_a_killed_refusal_gives_everything_back(crashing: Crashing):
    shop = crashing.shop
    who, shown = await crashing.customer_with_coupon((RARE, 2))
    await crashing.die("checkout.failed", "place", who, shown)
    assert await crashing.stage() == "failed"
    assert (await shop.cart_row(shown.cart.id)).status == "open"
    await shop.sound()


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(
    "point",
    [
        "checkout.taken-over",
        "checkout.failing",
        "checkout.order-cancelled",
        "checkout.released",
        "checkout.failed",
    ],
)
async def test_a_killed_giving_up_is_carried_through(crashing: Crashing, point: str, held: bool):
    shop = crashing.shop
    who, shown = await crashing.customer_with_coupon((TEA, 2))
    stock = shop.warehouse.left(TEA)
    (shop.orders if held else shop.warehouse).ledger.busy.append(Unavailable("away"))
    left = await shop.place(who, shown, key="key")
    assert left.status == "placing"
    shop.manual.advance(LIMIT_MS + RETRY_MS)
    await crashing.die(point, "sweep", who, shown)
    if point != "checkout.failed":
        await crashing.sweep()
    (row,) = await shop.rows(checkouts)
    assert (row.status, row.reason) == ("failed", "time-limit")
    assert (await shop.cart_row(shown.cart.id)).status == "open"
    assert not shop.orders.all
    assert shop.warehouse.left(TEA) == stock
    await shop.sound()
    shop.manual.advance(WATCH_MS + 1)
    assert await shop.built.saga.sweep() == 1
    assert (await shop.rows(checkouts))[0].due_ms is None
    placed = await shop.place(who, await shop.service.cart(who, shown.cart.id), key="key")
    assert placed.status == "placed"
    await shop.sound()


async def test_killed_while_a_cancelled_order_gives_its_coupon_back(crashing: Crashing):
    shop = crashing.shop
    who, shown = await crashing.customer_with_coupon((TEA, 2))
    placed = await shop.place(who, shown)
    await crashing.die("checkout.coupon-returned-not-committed", "hear", who, shown, placed.id)
    assert [row.used for row in await shop.rows(coupons)] == [1]
    for _ in range(2):
        await shop.cancel(placed.id)
        assert [row.used for row in await shop.rows(coupons)] == [0]
    await shop.sound()
