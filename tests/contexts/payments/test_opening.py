"""Opening a payment: once per key, one per order, and nothing lost between us and the provider."""

from __future__ import annotations

import asyncio

import pytest

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import CUSTOMER, PRICE, Passing, Shop, all_at_once, of_type
from doorbuster.contexts.payments.model import PaymentRecord
from doorbuster.contexts.payments.provider import Opened, Provider
from doorbuster.contexts.payments.store.tables import payments
from doorbuster.contracts.payments import (
    AlreadyPaid,
    Payment,
    PaymentAmountInvalid,
    PaymentClosed,
    PaymentInProgress,
    PaymentOpen,
    PaymentRefused,
)
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.ids import shard_of
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

BEHIND_A_GATE = 24


class Gate(Passing):
    """A provider that keeps the first requests waiting until the gate opens."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self.opened = asyncio.Event()
        self.waiting = 0
        self.held_max = BEHIND_A_GATE

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        self.waiting += 1
        if self.waiting <= self.held_max:
            await self.opened.wait()
        return await super().create_intent(payment, method)


class Gated:
    """A shop behind a gate."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        gate = shop.till.providers["simulator"]
        assert isinstance(gate, Gate)
        self.gate = gate

    async def somebody_waits(self) -> None:
        while not self.gate.waiting:
            await asyncio.sleep(0.001)


@pytest.fixture
async def gated(open_shop: OpenShop, shared_simulator: SimulatorProcess) -> Gated:
    return Gated(await open_shop(shared_simulator, wrap=Gate))


async def test_a_payment_is_opened_and_can_be_paid(shop: Shop):
    order_id = shop.order_id()
    payment = await shop.open(order_id=order_id)
    assert (payment.order_id, payment.customer_id, payment.amount) == (order_id, CUSTOMER, PRICE)
    assert payment.status == "pending"
    assert payment.checkout_url is not None
    assert shard_of(payment.id) == shard_of(order_id)
    intent = await shop.desk.intent(payment.id)
    row = await shop.row(payment.id)
    assert intent is not None
    assert (intent["order_id"], intent["amount"], intent["currency"]) == (str(order_id), 1990, "CNY")
    assert (row.reference, row.status, row.lease_until_ms) == (intent["reference"], "pending", None)


async def test_the_same_key_gets_the_same_answer_also_later(shop: Shop):
    order_id = shop.order_id()
    payment = await shop.open(order_id=order_id)
    assert await shop.open(order_id=order_id) == payment
    await shop.desk.confirm(payment)
    await shop.call_back(payment)
    assert await shop.open(order_id=order_id) == payment
    assert await shop.service.opened_with(order_id, "key") == payment
    assert await shop.service.opened_with(order_id, "another") is None
    assert len(await shop.rows(payments)) == 1


async def test_the_same_key_for_another_amount_is_refused(shop: Shop):
    order_id = shop.order_id()
    await shop.open(order_id=order_id)
    before = await shop.everything()
    for other in (Money(1991, "CNY"), Money(1990, "USD")):
        with pytest.raises(IdempotencyKeyReused):
            await shop.open(order_id=order_id, amount=other)
    with pytest.raises(IdempotencyKeyReused):
        await shop.service.create(order_id, CUSTOMER + 1, PRICE, "key")
    assert await shop.everything() == before


async def test_another_key_is_told_which_payment_is_open(shop: Shop):
    order_id = shop.order_id()
    payment = await shop.open(order_id=order_id)
    with pytest.raises(PaymentOpen) as refusal:
        await shop.open("another", order_id)
    assert refusal.value.extra == {"payment_id": payment.id}
    assert len(await shop.rows(payments)) == 1


async def test_the_same_key_of_another_order_is_another_payment(shop: Shop):
    first, second = await shop.open(), await shop.open()
    assert first.id != second.id


async def test_nothing_cannot_be_paid(shop: Shop):
    for amount in (0, -1):
        with pytest.raises(PaymentAmountInvalid):
            await shop.open(amount=Money(amount, "CNY"))
    assert not await shop.rows(payments)


async def test_a_duplicate_is_refused_while_the_first_runs_and_answered_after(gated: Gated):
    shop, order_id = gated.shop, gated.shop.order_id()
    first = asyncio.create_task(shop.open(order_id=order_id))
    await gated.somebody_waits()
    with pytest.raises(PaymentInProgress):
        await shop.open(order_id=order_id)
    with pytest.raises(PaymentOpen):
        await shop.open("another", order_id)
    assert (await shop.rows(payments))[0].status == "in_progress"
    gated.gate.opened.set()
    payment = await first
    assert await shop.open(order_id=order_id) == payment


async def test_concurrent_duplicates_open_one_payment(gated: Gated):
    shop, order_id = gated.shop, gated.shop.order_id()
    running = asyncio.create_task(all_at_once(lambda _: shop.open(order_id=order_id), BEHIND_A_GATE))
    await gated.somebody_waits()
    await asyncio.sleep(0.2)
    gated.gate.opened.set()
    outcomes = await running
    opened = of_type(outcomes, Payment)
    assert len(of_type(outcomes, PaymentInProgress)) + len(opened) == BEHIND_A_GATE
    assert gated.gate.waiting == 1, "the provider was asked once"
    assert len({payment.id for payment in opened}) == 1
    assert len(await shop.rows(payments)) == 1


async def test_concurrent_keys_open_one_payment_and_it_is_captured_once(shop: Shop):
    order_id = shop.order_id()
    outcomes = await all_at_once(lambda number: shop.open(f"key-{number}", order_id), BEHIND_A_GATE)
    (payment,) = of_type(outcomes, Payment)
    assert len(of_type(outcomes, PaymentOpen)) == BEHIND_A_GATE - 1
    await shop.desk.confirm(payment)
    bodies = [await shop.callback(payment, id=f"evt_{number % 3}") for number in range(BEHIND_A_GATE)]
    delivered = await all_at_once(lambda number: shop.deliver(bodies[number]), BEHIND_A_GATE)
    assert delivered == [None] * BEHIND_A_GATE
    assert len(await shop.desk.statement(payment.id)) == 1
    assert [(row.id, row.status) for row in await shop.rows(payments)] == [(payment.id, "captured")]
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2


async def test_a_lost_answer_is_asked_for_again(shop: Shop):
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=2)
    payment = await shop.open()
    await shop.desk.misbehave()
    assert await shop.status(payment) == "pending"
    assert await shop.desk.intent(payment.id) is not None


async def test_when_all_answers_are_lost_the_same_key_resumes_the_same_payment(shop: Shop):
    order_id = shop.order_id()
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    with pytest.raises(Unavailable):
        await shop.open(order_id=order_id)
    (begun,) = await shop.rows(payments)
    assert (begun.status, begun.reference) == ("in_progress", None)
    assert await shop.desk.intent(begun.id) is not None, "the provider has acted"
    await shop.desk.misbehave()
    payment = await shop.open(order_id=order_id)
    assert payment.id == begun.id
    assert len(await shop.rows(payments)) == 1


async def test_while_the_provider_is_away_the_payment_stays_resumable(shop: Shop):
    order_id = shop.order_id()
    for down_as in ("unavailable", "close"):
        await shop.desk.misbehave(down=True, down_as=down_as)
        with pytest.raises(Unavailable):
            await shop.open(order_id=order_id)
    assert [row.status for row in await shop.rows(payments)] == ["in_progress"]
    await shop.desk.misbehave()
    assert (await shop.open(order_id=order_id)).status == "pending"


async def test_a_provider_that_hangs_is_not_waited_for(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, timeout_s=0.3)
    await shop.desk.misbehave(slow=True, slow_ms=[2000, 2000])
    with pytest.raises(Unavailable):
        await shop.open()
    assert [row.status for row in await shop.rows(payments)] == ["in_progress"]
    await shop.desk.misbehave()


async def test_an_abandoned_lease_is_taken_over_by_one_of_many(gated: Gated):
    shop, order_id = gated.shop, gated.shop.order_id()
    lost = asyncio.create_task(shop.open(order_id=order_id))
    await gated.somebody_waits()
    lost.cancel()
    await asyncio.wait([lost])
    with pytest.raises(PaymentInProgress):
        await shop.open(order_id=order_id)
    shop.clock.advance(shop.till.pace.lease_ms + 1)
    await all_at_once(lambda _: shop.rows(payments), BEHIND_A_GATE)  # now every connection is open
    running = asyncio.create_task(all_at_once(lambda _: shop.open(order_id=order_id), BEHIND_A_GATE))
    await asyncio.sleep(0.3)
    gated.gate.opened.set()
    outcomes = await running
    (payment,) = {outcome.id: outcome for outcome in of_type(outcomes, Payment)}.values()
    assert gated.gate.waiting == 2
    assert [row.id for row in await shop.rows(payments)] == [payment.id]


async def test_an_abandoned_payment_is_carried_on_by_the_sweep(gated: Gated):
    shop, order_id = gated.shop, gated.shop.order_id()
    lost = asyncio.create_task(shop.open(order_id=order_id))
    await gated.somebody_waits()
    lost.cancel()
    await asyncio.wait([lost])
    gated.gate.opened.set()
    assert await shop.service.reconciling.sweep() == 0, "its shopper may still come back"
    shop.clock.advance(shop.till.pace.lease_ms + shop.till.pace.abandoned_ms)
    assert await shop.service.reconciling.sweep() == 1
    (row,) = await shop.rows(payments)
    assert row.status == "pending"
    with pytest.raises(PaymentOpen) as refusal:
        await shop.open("another", order_id)
    assert refusal.value.extra == {"payment_id": row.id}
    assert (await shop.open(order_id=order_id)).checkout_url == row.checkout_url


async def test_what_the_provider_refuses_is_closed_for_good(shop: Shop):
    order_id = shop.order_id()
    too_much = Money(10**12 + 1, "CNY")  # ours to ask, not theirs to take
    with pytest.raises(PaymentRefused):
        await shop.open(order_id=order_id, amount=too_much)
    assert [row.status for row in await shop.rows(payments)] == ["cancelled"]
    with pytest.raises(PaymentClosed):
        await shop.open(order_id=order_id, amount=too_much)
    assert (await shop.open("another", order_id)).status == "pending"


async def test_a_declined_payment_is_closed_before_another_is_opened(shop: Shop):
    order_id = shop.order_id()
    declined = await shop.open(order_id=order_id)
    await shop.desk.confirm(declined, "decline")
    await shop.call_back(declined, "payment.failed")
    second = await shop.open("second", order_id)
    assert await shop.status(declined) == "cancelled"
    await shop.desk.confirm(declined)
    await shop.desk.confirm(second)
    intents = [await shop.desk.intent(payment.id) for payment in (declined, second)]
    assert [intent and intent["status"] for intent in intents] == ["cancelled", "captured"]


async def test_a_declined_payment_paid_after_all_is_not_paid_twice(shop: Shop):
    order_id = shop.order_id()
    declined = await shop.open(order_id=order_id)
    await shop.desk.confirm(declined, "decline")
    await shop.call_back(declined, "payment.failed")
    await shop.desk.confirm(declined)
    with pytest.raises(AlreadyPaid):
        await shop.open("second", order_id)
    assert [(row.id, row.status) for row in await shop.rows(payments)] == [(declined.id, "captured")]
    assert await shop.event_types() == ["payments.captured"]
    with pytest.raises(AlreadyPaid):
        await shop.open("third", order_id)


async def test_a_refunded_order_may_be_paid_anew(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    await shop.service.refunding.sweep()
    assert (await shop.open("second", payment.order_id)).id != payment.id


async def test_a_payment_closed_while_it_was_opened_is_not_offered(gated: Gated):
    shop, order_id = gated.shop, gated.shop.order_id()
    gated.gate.held_max = 1
    opening = asyncio.create_task(shop.open(order_id=order_id))
    await gated.somebody_waits()
    assert await shop.service.close_open([order_id]) == {order_id: "closed"}
    gated.gate.opened.set()
    with pytest.raises(PaymentClosed):
        await opening
    (row,) = await shop.rows(payments)
    intent = await shop.desk.intent(row.id)
    assert intent is not None
    assert (row.status, intent["status"]) == ("cancelled", "cancelled")
