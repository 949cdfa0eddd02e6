"""Callbacks that the simulator really sends, badly: late, twice, out of order, forged, and while we are away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import SECRET, Front, Shop, until
from doorbuster.contexts.payments.store.tables import webhook_events
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

PATIENT = ("--tries-max", "100", "--retry-base-ms", "20", "--retry-cap-ms", "100")


@pytest.fixture(scope="module")
def patient_simulator(tmp_path_factory: pytest.TempPathFactory):
    data = tmp_path_factory.mktemp("simulator") / "patient.sqlite"
    with SimulatorProcess(data, secrets=[SECRET], arguments=PATIENT) as simulator:
        yield simulator


@pytest.fixture
async def called(open_shop: OpenShop, patient_simulator: SimulatorProcess) -> AsyncIterator[tuple[Shop, Front]]:
    """A shop whose callbacks arrive."""
    front = Front()
    shop = await open_shop(patient_simulator, webhook_url=front.webhook_url)
    yield shop, front
    await shop.desk.misbehave()
    await front.close()


async def all_delivered(shop: Shop) -> None:
    async def delivered() -> bool:
        return (await shop.desk.stats())["deliveries_pending"] == 0

    await until(delivered)


async def test_bad_callbacks_settle_each_payment_once(called: tuple[Shop, Front]):
    shop, front = called
    await front.open(shop.service)
    await shop.desk.misbehave(
        late=0.5,
        late_ms=[5, 100],
        twice=True,
        twice_gap_ms=[0, 20],
        out_of_order=0.5,
        out_of_order_hold_ms=150,
        forged=True,
    )
    opened = [await shop.open() for _ in range(12)]
    for number, payment in enumerate(opened):
        if number % 2:
            await shop.desk.confirm(payment, "decline")
        await shop.desk.confirm(payment)
    await all_delivered(shop)
    for payment in opened:
        assert await shop.status(payment) == "captured"
        assert len(await shop.ledger(payment)) == 2
        assert len(await shop.desk.statement(payment.id)) == 1
    assert await shop.event_types() == ["payments.captured"] * len(opened)
    assert len(await shop.rows(webhook_events)) == len(opened) * 3 // 2
    forged = (await shop.desk.stats())["deliveries"]["forged"]
    assert forged.get("accepted", 0) == 0
    assert forged["refused"] >= len(opened)


async def test_callbacks_that_come_while_we_are_away_are_sent_again(called: tuple[Shop, Front]):
    shop, front = called
    payment = await shop.open()
    await shop.desk.confirm(payment)
    await asyncio.sleep(0.1)
    assert await shop.status(payment) == "pending"
    await front.open(shop.service)
    await all_delivered(shop)
    assert await shop.status(payment) == "captured"


async def test_a_refund_whose_answer_is_lost_is_told_by_its_callback(called: tuple[Shop, Front]):
    shop, front = called
    await front.open(shop.service)
    payment = await shop.open()
    await shop.desk.confirm(payment)
    await all_delivered(shop)
    await shop.request_refund(payment)
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000, twice=True)
    await shop.service.refunding.sweep()
    await shop.desk.misbehave()
    await all_delivered(shop)
    assert await shop.status(payment) == "refunded"
    assert await shop.event_types() == ["payments.captured", "payments.refunded"]
