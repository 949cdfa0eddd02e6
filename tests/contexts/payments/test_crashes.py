"""Killed between any two steps: what was begun is carried on, and no money moves twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from conftest import OpenDatabase
from contexts.payments.conftest import MIGRATIONS
from contexts.payments.crash_child import Job
from contexts.payments.paying_shop import CUSTOMER, PRICE, SECRET, Shop, build_shop, close_shop
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.store.tables import payments, refunds
from doorbuster.contracts.payments import PaymentInProgress
from doorbuster.kernel.clock import ManualClock
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.context import Platform
from doorbuster.platform.settings.tree import DatabaseSettings
from doorbuster.platform.sql.sqlite import SqliteDatabase
from doorbuster.platform.telemetry.crash_points import VARIABLE

CHILD = Path(__file__).parent / "crash_child.py"
RECOVERY_S_MAX = 5.0


@pytest.fixture
def database_settings() -> DatabaseSettings:
    """A file: the child opens it too."""
    return DatabaseSettings()


class Crashing:
    """A shop whose work is done by children that die."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    async def die(self, at: str, what: str, order_id: int = 0, method: str | None = None) -> None:
        """Runs a child until it is killed at the crash point `at`."""
        database = self.shop.database
        assert isinstance(database, SqliteDatabase)
        base_url, stripe = self.shop.desk.process.base_url, "stripe" in self.shop.till.providers
        urls = ("", f"{base_url}/stripe") if stripe else (base_url, "")
        job = Job(what, str(database.path), urls[0], SECRET, order_id, CUSTOMER, PRICE, "key", method, urls[1])
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), msgspec.json.encode(job).decode(), env={**os.environ, VARIABLE: at}
        )
        assert await child.wait() == -signal.SIGKILL, f"it did not come to {at}"


@pytest.fixture
async def crashing(
    open_database: OpenDatabase, platform: Platform, clock: ManualClock, shared_simulator: SimulatorProcess
):
    database = await open_database("payments", MIGRATIONS)
    shop = build_shop(replace(platform, clock=clock), clock, database, shared_simulator, pace=Pace())
    yield Crashing(shop)
    await close_shop(shop)


def pass_time(shop: Shop, by_ms: int) -> None:
    """The child lives in real time; its leases and pauses are over for us."""
    shop.clock.advance(time.time_ns() // 1_000_000 - shop.clock.now_ms() + by_ms)


@pytest.mark.parametrize(
    ("point", "provider_knows"),
    [("payments.in-progress-committed", False), ("payments.provider-acted", True)],
)
@pytest.mark.parametrize("by", ["its shopper", "the sweep"])
async def test_a_payment_begun_before_a_crash_is_carried_on(
    crashing: Crashing, point: str, provider_knows: bool, by: str
):
    shop, order_id = crashing.shop, crashing.shop.order_id()
    await crashing.die(point, "create", order_id)
    (begun,) = await shop.rows(payments)
    assert (begun.status, begun.reference) == ("in_progress", None)
    assert (await shop.desk.intent(begun.id) is not None) == provider_knows
    pass_time(shop, 0)
    with pytest.raises(PaymentInProgress):
        await shop.open(order_id=order_id)
    pass_time(shop, shop.till.pace.lease_ms + shop.till.pace.abandoned_ms)
    begun_s = time.monotonic()
    if by == "the sweep":
        assert await shop.service.reconciling.sweep() == 1
    payment = await shop.open(order_id=order_id)
    assert time.monotonic() - begun_s < RECOVERY_S_MAX
    assert payment.id == begun.id
    assert [(row.id, row.status) for row in await shop.rows(payments)] == [(begun.id, "pending")]
    await shop.desk.confirm(payment)
    await shop.call_back(payment)
    assert len(await shop.desk.statement(payment.id)) == 1
    assert not [check for check in await shop.service.audit() if check.verdict != "holds"]


@pytest.fixture(params=["simulator", "stripe"])
async def crashing_at_once(
    request: pytest.FixtureRequest,
    open_database: OpenDatabase,
    platform: Platform,
    clock: ManualClock,
    shared_simulator: SimulatorProcess,
):
    database = await open_database("payments", MIGRATIONS)
    shop = build_shop(replace(platform, clock=clock), clock, database, shared_simulator, protocol=request.param)
    yield Crashing(shop)
    await close_shop(shop)


@pytest.mark.parametrize(
    ("point", "captured_there", "status"),
    [
        ("payments.in-progress-committed", 0, "in_progress"),
        ("payments.provider-acted", 1, "in_progress"),
        ("payments.settled-not-committed", 1, "in_progress"),
        ("payments.capture-committed", 1, "captured"),
    ],
)
@pytest.mark.parametrize("by", ["its shopper", "the sweep"])
async def test_a_payment_confirmed_at_once_is_captured_once_wherever_it_was_cut_off(
    crashing_at_once: Crashing, point: str, captured_there: int, status: str, by: str
):
    shop, order_id = crashing_at_once.shop, crashing_at_once.shop.order_id()
    await crashing_at_once.die(point, "create", order_id, "pm_card_visa")
    (begun,) = await shop.rows(payments)
    assert begun.status == status
    assert len(await lines_of(shop, begun.id)) == captured_there
    pass_time(shop, shop.till.pace.lease_ms + shop.till.pace.abandoned_ms)
    if by == "the sweep":
        assert await shop.service.reconciling.sweep() == (status == "in_progress")
    payment = await shop.open(order_id=order_id, method="pm_card_visa")
    assert (payment.id, payment.status) == (begun.id, "captured")
    assert len(await lines_of(shop, begun.id)) == 1
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2
    assert not [check for check in await shop.service.audit() if check.verdict != "holds"]


async def lines_of(shop: Shop, payment_id: int) -> list[str]:
    return [line.kind for line in await shop.statement() if line.payment_id == str(payment_id)]


async def test_a_capture_committed_before_a_crash_is_settled_once(crashing: Crashing):
    shop = crashing.shop
    payment = await shop.open()
    await shop.desk.confirm(payment)
    await crashing.die("payments.capture-committed", "close", payment.order_id)
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]
    await shop.call_back(payment)
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "captured"}
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2
    assert not [check for check in await shop.service.audit() if check.verdict != "holds"]


async def test_a_refund_made_before_a_crash_is_booked_once(crashing: Crashing):
    shop = crashing.shop
    payment = await shop.captured()
    await shop.request_refund(payment)
    await crashing.die("payments.refund-acted", "refund")
    (row,) = await shop.rows(refunds)
    assert (row.status, row.attempts) == ("requested", 1)
    assert len(await shop.desk.statement(payment.id)) == 2, "the provider has paid back"
    assert {check.verdict for check in await shop.service.audit()} == {"holds", "in flight"}
    pass_time(shop, shop.till.pace.refund_first_ms)
    begun_s = time.monotonic()
    assert await shop.service.refunding.sweep() == 1
    assert time.monotonic() - begun_s < RECOVERY_S_MAX
    assert await shop.status(payment) == "refunded"
    assert len(await shop.desk.statement(payment.id)) == 2
    assert await shop.event_types() == ["payments.captured", "payments.refunded"]
    assert not [check for check in await shop.service.audit() if check.verdict != "holds"]
