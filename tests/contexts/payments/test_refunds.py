"""Refunds: once, however often they are asked for and whatever the provider does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from conftest import OpenDatabase
from contexts.payments.conftest import MIGRATIONS, OpenShop
from contexts.payments.paying_shop import Passing, Shop, all_at_once, build_shop, close_shop, until
from doorbuster.contexts.payments.events import consumers
from doorbuster.contexts.payments.model import Pace, PaymentRecord, RefundRecord
from doorbuster.contexts.payments.provider import Provider
from doorbuster.contexts.payments.refunding import RefundImpossible
from doorbuster.contexts.payments.store.tables import refunds, webhook_events
from doorbuster.contracts.orders import PaymentMismatch, RefundRequested
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.bus.relay import Relay


async def test_a_refund_is_asked_for_made_and_announced(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    assert await shop.status(payment) == "refunding"
    assert await shop.service.refunding.sweep() == 1
    row = await shop.row(payment.id)
    assert (row.status, row.captured_amount, row.refunded_amount) == ("refunded", 1990, 1990)
    (refund,) = await shop.rows(refunds)
    assert (refund.status, refund.attempts, refund.cause) == ("succeeded", 1, "customer")
    assert await shop.ledger(payment) == [
        ("capture", "customers", -1990, "CNY"),
        ("capture", "provider:simulator", 1990, "CNY"),
        ("refund", "customers", 1990, "CNY"),
        ("refund", "provider:simulator", -1990, "CNY"),
    ]
    assert await shop.event_types() == ["payments.captured", "payments.refunded"]
    lines = await shop.desk.statement(payment.id)
    assert [(line["kind"], line["refund_id"]) for line in lines] == [("capture", None), ("refund", str(refund.id))]
    assert await shop.service.refunding.sweep() == 0


async def test_asking_again_refunds_nothing_more(shop: Shop):
    payment = await shop.captured()
    for cause in ("customer", "customer", "late-payment"):
        await shop.request_refund(payment, cause)
    await shop.service.refunding.sweep()
    for cause in ("customer", "another"):
        await shop.request_refund(payment, cause)
    assert await shop.service.refunding.sweep() == 0
    assert [row.cause for row in await shop.rows(refunds)] == ["customer"]
    assert len(await shop.desk.statement(payment.id)) == 2


async def test_money_that_is_not_the_orders_is_not_given_back(shop: Shop):
    payment = await shop.captured()
    before = await shop.everything()
    for change in ({"amount": Money(1991, "CNY")}, {"amount": Money(1990, "USD")}, {"order_id": 5}):
        with pytest.raises(RefundImpossible):
            await shop.request_refund(payment, **change)
    assert await shop.everything() == before


async def test_money_that_did_not_come_in_is_not_given_back(shop: Shop):
    payment = await shop.open()
    before = await shop.everything()
    with pytest.raises(RefundImpossible):
        await shop.request_refund(payment)
    with pytest.raises(RefundImpossible):
        await shop.request_refund(payment, payment_id=1)
    assert await shop.everything() == before


async def test_two_workers_make_a_refund_once(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator)
    twin = await open_shop(shared_simulator, database=shop.database)
    opened = [await shop.captured() for _ in range(6)]
    for payment in opened:
        await shop.request_refund(payment)
    taken = await all_at_once(lambda number: (shop, twin)[number % 2].service.refunding.sweep(), 6)
    assert sum(count for count in taken if isinstance(count, int)) == 6
    for payment in opened:
        assert [line["kind"] for line in await shop.desk.statement(payment.id)] == ["capture", "refund"]
    assert {row.status for row in await shop.rows(refunds)} == {"succeeded"}
    assert (await shop.event_types()).count("payments.refunded") == 6


class Away(Passing):
    """A provider that is away for a while, as far as refunds go."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self.back = False

    async def refund(self, refund: RefundRecord, payment: PaymentRecord) -> None:
        if not self.back:
            raise Unavailable
        await super().refund(refund, payment)


async def test_a_refund_is_tried_until_it_is_made_and_at_a_bounded_pace(
    open_shop: OpenShop, shared_simulator: SimulatorProcess
):
    shop = await open_shop(shared_simulator, wrap=Away)
    payment = await shop.captured()
    await shop.request_refund(payment)
    tried_at_s = [second for second in range(1000) if await tried(shop, 1000)]
    assert tried_at_s == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811], "doubled pauses of at most 300 s"
    away = shop.till.providers["simulator"]
    assert isinstance(away, Away)
    away.back = True
    shop.clock.advance(shop.till.pace.refund_cap_ms)
    assert await shop.service.refunding.sweep() == 1
    assert await shop.status(payment) == "refunded"
    assert len(await shop.desk.statement(payment.id)) == 2


async def tried(shop: Shop, then_ms: int) -> bool:
    taken = await shop.service.refunding.sweep()
    shop.clock.advance(then_ms)
    return taken == 1


async def test_a_refund_whose_answers_are_lost_is_made_once(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    await shop.service.refunding.sweep()
    assert await shop.status(payment) == "refunding"
    assert len(await shop.desk.statement(payment.id)) == 2, "the provider has acted"
    await shop.desk.misbehave()
    shop.clock.advance(shop.till.pace.refund_cap_ms)
    await shop.service.refunding.sweep()
    assert await shop.status(payment) == "refunded"
    assert len(await shop.desk.statement(payment.id)) == 2
    assert len(await shop.ledger(payment)) == 4


async def test_the_providers_callback_completes_a_refund(shop: Shop):
    payment, other = await shop.captured(), await shop.captured()
    await shop.request_refund(payment)
    (refund,) = await shop.rows(refunds)
    await shop.request_refund(other)
    before = await shop.everything()
    with pytest.raises(PaymentMismatch):  # not made yet, whoever says so
        await shop.call_back(payment, "refund.succeeded", refund_id=str(refund.id))
    assert await shop.everything() == before
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    assert await shop.service.refunding.sweep() == 2
    await shop.desk.misbehave()
    for wrong in ({"refund_id": "1"}, {"refund_id": str(refund.id), "amount": 1}, {"refund_id": None}):
        with pytest.raises(PaymentMismatch):
            await shop.call_back(payment, "refund.succeeded", **wrong)
    with pytest.raises(PaymentMismatch):  # made, but of another payment
        await shop.call_back(other, "refund.succeeded", refund_id=str(refund.id))
    for event_id in ("evt_first", "evt_first", "evt_second"):
        await shop.call_back(payment, "refund.succeeded", id=event_id, refund_id=str(refund.id))
    assert await shop.status(payment) == "refunded"
    assert await shop.event_types() == ["payments.captured", "payments.captured", "payments.refunded"]
    effects = {row.event_id: row.effect for row in await shop.rows(webhook_events)}
    assert (effects["evt_first"], effects["evt_second"]) == ("refunded", None)
    assert len(await shop.ledger(payment)) == 4
    shop.clock.advance(shop.till.pace.refund_cap_ms)
    assert await shop.service.refunding.sweep() == 1, "only the other one"


async def test_the_relay_brings_requests_and_the_task_makes_them_at_once(
    open_shop: OpenShop, open_database: OpenDatabase, shared_simulator: SimulatorProcess
):
    shop = await open_shop(shared_simulator, pace=Pace(refunds_sweep_s=30))
    orders = await open_database("orders", MIGRATIONS)  # any schema with an outbox
    payment = await shop.captured()
    (consumer,) = consumers(shop.service)
    relay = Relay(orders, shop.database, consumer, shop.platform.wakeups, shop.clock)
    working = asyncio.create_task(shop.service.refunding.run())
    try:
        await asyncio.sleep(0.1)
        event = RefundRequested(payment.order_id, payment.id, payment.amount, "customer")
        for _ in range(2):
            await orders.write(lambda tx: emit(tx, [event, event], shop.clock.now_ms()))
            await relay.step()

        async def refunded() -> bool:
            return await shop.status(payment) == "refunded"

        await until(refunded, within_s=5)
    finally:
        working.cancel()
        await asyncio.wait([working])
    assert len(await shop.rows(refunds)) == 1
    assert len(await shop.desk.statement(payment.id)) == 2


async def test_a_sweep_takes_a_bounded_page(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, pace=Pace(page=3))
    for _ in range(5):
        await shop.request_refund(await shop.captured())
    assert [await shop.service.refunding.sweep() for _ in range(3)] == [3, 2, 0]


async def test_a_process_that_starts_later_finds_what_was_asked_for(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    later = build_shop(replace(shop.platform), shop.clock, shop.database, shop.desk.process)
    working = asyncio.create_task(later.service.refunding.run())

    async def refunded() -> bool:
        return await shop.status(payment) == "refunded"

    await until(refunded)
    working.cancel()
    await asyncio.wait([working])
    await close_shop(later)
