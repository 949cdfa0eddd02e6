"""A lost callback loses nothing: payments nobody told us about are asked for."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import Shop, until
from doorbuster.contexts.payments.model import Pace
from doorbuster.contexts.payments.store.tables import payments
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess


async def test_a_capture_nobody_told_us_about_is_found(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    assert await shop.service.reconciling.sweep() == 0, "the callback may still come"
    shop.clock.advance(shop.till.pace.check_first_ms)
    assert await shop.service.reconciling.sweep() == 1
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2
    await shop.call_back(payment)
    assert await shop.event_types() == ["payments.captured"]
    shop.clock.advance(10 * shop.till.pace.check_cap_ms)
    assert await shop.service.reconciling.sweep() == 0


async def test_a_capture_after_a_decline_nobody_told_us_about_is_found(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment, "decline")
    shop.clock.advance(shop.till.pace.check_first_ms)
    await shop.service.reconciling.sweep()
    assert await shop.status(payment) == "failed"
    await shop.desk.confirm(payment)
    shop.clock.advance(shop.till.pace.check_cap_ms)
    await shop.service.reconciling.sweep()
    assert await shop.status(payment) == "captured"


async def test_a_cancellation_at_the_provider_is_found(shop: Shop):
    payment = await shop.open()
    await shop.desk.cancel(payment.id)
    shop.clock.advance(shop.till.pace.check_first_ms)
    await shop.service.reconciling.sweep()
    assert await shop.status(payment) == "cancelled"
    assert (await shop.open("another", payment.order_id)).status == "pending"


async def test_an_unpaid_payment_is_asked_for_ever_more_rarely(shop: Shop):
    payment = await shop.open()
    asked = 0
    for _ in range(60):
        shop.clock.advance(5_000)
        asked += await shop.service.reconciling.sweep()
    assert asked == 4, "after 15, 45, 105 and 225 s"
    assert (await shop.row(payment.id)).checks == 4
    assert await shop.status(payment) == "pending"


async def test_sweeps_are_bounded_and_share_the_work(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, pace=Pace(page=4))
    twin = await open_shop(shared_simulator, database=shop.database, pace=Pace(page=4))
    for payment in [await shop.open() for _ in range(10)]:
        await shop.desk.confirm(payment)
    shop.clock.advance(shop.till.pace.check_first_ms)
    taken = 0
    for _ in range(6):
        taken += sum(await asyncio.gather(shop.service.reconciling.sweep(), twin.service.reconciling.sweep()))
    assert taken == 10
    assert {row.status for row in await shop.rows(payments)} == {"captured"}
    assert await shop.event_types() == ["payments.captured"] * 10


async def test_an_outage_is_outlived(open_shop: OpenShop, own_simulator: SimulatorProcess):
    pace = Pace(check_first_ms=1, check_cap_ms=10, checks_sweep_s=0.02)
    shop = await open_shop(own_simulator, pace=pace, timeout_s=1.0)
    payment = await shop.open()
    await shop.desk.confirm(payment)
    own_simulator.kill()
    sweeping = asyncio.create_task(shop.service.reconciling.run())
    shop.clock.advance(100)
    await asyncio.sleep(0.3)
    assert await shop.status(payment) == "pending"
    own_simulator.restart()

    async def captured() -> bool:
        shop.clock.advance(100)
        return await shop.status(payment) == "captured"

    await until(captured)
    assert not sweeping.done()
    sweeping.cancel()
    await asyncio.wait([sweeping])


async def test_what_the_provider_disagrees_about_stays_as_it_is_and_holds_nobody_up(shop: Shop):
    odd, unknown, plain = await shop.open(), await shop.open(), await shop.open()
    for payment in (odd, plain):
        await shop.desk.confirm(payment)
    await shop.tamper(sa.update(payments).where(payments.c.id == odd.id).values(amount=1))
    await shop.tamper(sa.update(payments).where(payments.c.id == unknown.id).values(id=unknown.id + 1))
    shop.clock.advance(shop.till.pace.check_first_ms)
    assert await shop.service.reconciling.sweep() == 3
    assert sorted(row.status for row in await shop.rows(payments)) == ["captured", "pending", "pending"]
    assert await shop.event_types() == ["payments.captured"]
