"""A method that comes with the request: settled by the provider's own answer, in every protocol, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import CUSTOMER, PRICE, Shop, Since, all_at_once, of_type
from doorbuster.contexts.payments.model import Intent, PaymentRecord
from doorbuster.contexts.payments.provider import Opened, Provider
from doorbuster.contexts.payments.store.tables import payments
from doorbuster.contracts.payments import (
    Payment,
    PaymentClosed,
    PaymentInProgress,
    PaymentMethodInvalid,
    PaymentRefused,
)
from doorbuster.kernel.errors import Unavailable
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.platform.context import Platform

VISA, DECLINED, ACTION = "pm_card_visa", "pm_card_declined", "pm_card_authenticationRequired"


class Counting(Since):
    """Counts the questions, and may answer about another amount."""

    def __init__(self, provider: Provider, first_id: int) -> None:
        super().__init__(provider, first_id)
        self.asked: list[str] = []
        self.lies: dict[str, object] = {}

    async def create_intent(self, payment: PaymentRecord, method: str | None) -> Opened:
        self.asked.append("create")
        opened = await super().create_intent(payment, method)
        intent = opened.intent
        for name, value in self.lies.items():
            intent = type(intent)(
                **({field: getattr(intent, field) for field in intent.__struct_fields__} | {name: value})
            )
        return Opened(intent, opened.checkout_url, opened.decline)

    async def get_intent(self, payment: PaymentRecord) -> Intent:
        self.asked.append("get")
        return await super().get_intent(payment)


@pytest.fixture(params=["simulator", "stripe"])
async def paid(
    request: pytest.FixtureRequest, open_shop: OpenShop, shared_simulator: SimulatorProcess, platform: Platform
) -> AsyncIterator[Shop]:
    first_id = platform.ids.next()
    shop = await open_shop(shared_simulator, wrap=lambda provider: Counting(provider, first_id), protocol=request.param)
    yield shop
    await shop.desk.misbehave()


def counting(shop: Shop) -> Counting:
    (provider,) = shop.till.providers.values()
    assert isinstance(provider, Counting)
    return provider


async def test_it_is_captured_posted_and_announced_with_one_question(paid: Shop):
    payment = await paid.open(method=VISA)
    assert payment.status == "captured"
    assert counting(paid).asked == ["create"]
    row = await paid.row(payment.id)
    assert (row.status, row.captured_amount, row.lease_until_ms, row.next_check_ms) == ("captured", 1990, None, None)
    assert row.reference is not None
    assert len(await paid.ledger(payment)) == 2
    assert await paid.event_types() == ["payments.captured"]
    assert await paid.open(order_id=payment.order_id, method=VISA) == payment
    assert await paid.service.opened_with(payment.order_id, "key") == payment


async def test_a_declined_method_says_why_and_may_be_tried_anew(paid: Shop):
    declined = await paid.open(method=DECLINED)
    assert (declined.status, declined.declined) == ("failed", "card-declined")
    assert declined.checkout_url is not None
    assert await paid.open(order_id=declined.order_id, method=DECLINED) == declined
    assert (await paid.rows(payments))[0].captured_amount == 0
    second = await paid.open("second", declined.order_id, method=VISA)
    assert second.status == "captured"
    assert sorted(row.status for row in await paid.rows(payments)) == ["cancelled", "captured"]
    assert (await paid.open(order_id=declined.order_id, method=DECLINED)).status == "failed"


async def test_a_declined_method_may_be_followed_by_another_on_the_page(paid: Shop):
    declined = await paid.open(method=DECLINED)
    await paid.desk.confirm(declined)
    paid.clock.advance(paid.till.pace.check_cap_ms)
    assert await paid.service.reconciling.sweep() == 1
    assert await paid.status(declined) == "captured"


async def test_a_method_that_asks_the_shopper_first_is_pending(paid: Shop):
    payment = await paid.open(method=ACTION)
    assert payment.status == "pending"
    assert payment.checkout_url is not None
    assert await paid.service.close_open([payment.order_id]) == {payment.order_id: "closed"}


async def test_a_method_that_is_none_is_refused(paid: Shop):
    order_id = paid.order_id()
    with pytest.raises(PaymentRefused):
        await paid.open(order_id=order_id, method="pm_of_nobody")
    assert [row.status for row in await paid.rows(payments)] == ["cancelled"]
    with pytest.raises(PaymentClosed):
        await paid.open(order_id=order_id, method="pm_of_nobody")
    for odd in ("", "a b", "a\r\nb", "a&b=c", "é", "x" * 65, "\x00"):
        with pytest.raises(PaymentMethodInvalid):
            await paid.open("odd", method=odd)


async def test_the_same_key_with_another_method_is_refused(paid: Shop):
    payment = await paid.open(method=VISA)
    for other in (None, DECLINED):
        with pytest.raises(IdempotencyKeyReused):
            await paid.open(order_id=payment.order_id, method=other)


@pytest.mark.parametrize(
    "lie",
    [{"amount": 1991, "captured": 1991}, {"currency": "USD"}, {"order_id": 5}, {"payment_id": 5}, {"captured": 1}],
)
async def test_an_answer_about_something_else_settles_nothing(paid: Shop, lie: dict[str, object]):
    counting(paid).lies = lie
    with pytest.raises(Unavailable):
        await paid.open(method=VISA)
    assert [(row.status, row.captured_amount) for row in await paid.rows(payments)] == [("in_progress", 0)]
    assert not await paid.event_types()


async def test_lost_answers_capture_once(paid: Shop):
    order_id = paid.order_id()
    await paid.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    with pytest.raises(Unavailable):
        await paid.open(order_id=order_id, method=VISA)
    await paid.desk.misbehave()
    (begun,) = await paid.rows(payments)
    assert begun.status == "in_progress"
    assert (await paid.open(order_id=order_id, method=VISA)).status == "captured"
    assert [line.kind for line in await paid.statement() if line.payment_id == str(begun.id)] == ["capture"]
    assert await paid.event_types() == ["payments.captured"]


async def test_an_abandoned_one_is_carried_on_by_the_sweep(paid: Shop):
    order_id = paid.order_id()
    await paid.desk.misbehave(down=True)
    with pytest.raises(Unavailable):
        await paid.open(order_id=order_id, method=VISA)
    await paid.desk.misbehave()
    paid.clock.advance(paid.till.pace.lease_ms + paid.till.pace.abandoned_ms)
    assert await paid.service.reconciling.sweep() == 1
    assert [row.status for row in await paid.rows(payments)] == ["captured"]


@pytest.mark.parametrize("acted", [True, False])
async def test_closing_one_in_progress_never_confirms_it(paid: Shop, acted: bool):
    """The provider may have acted or not; whoever closes asks without the method first."""
    order_id = paid.order_id()
    trouble = {"drop_reply": True, "drop_reply_times": 1000} if acted else {"down": True}
    await paid.desk.misbehave(**trouble)
    with pytest.raises(Unavailable):
        await paid.open(order_id=order_id, method=VISA)
    await paid.desk.misbehave()
    expected = "captured" if acted else "closed"
    assert await paid.service.close_open([order_id]) == {order_id: expected}
    (row,) = await paid.rows(payments)
    assert row.status == ("captured" if acted else "cancelled")
    assert len([line for line in await paid.statement() if line.payment_id == str(row.id)]) == acted


async def test_concurrent_duplicates_capture_once(paid: Shop):
    order_id = paid.order_id()
    outcomes = await all_at_once(lambda _: paid.open(order_id=order_id, method=VISA), 16)
    opened = of_type(outcomes, Payment)
    assert len(opened) + len(of_type(outcomes, PaymentInProgress)) == 16
    assert {payment.status for payment in opened} == {"captured"}
    assert await paid.event_types() == ["payments.captured"]


async def test_many_at_once_share_transactions_and_each_is_posted(paid: Shop):
    orders = [paid.order_id() for _ in range(60)]
    opened = await asyncio.gather(
        *(
            paid.service.create(order_id, CUSTOMER, Money(number + 1, "CNY"), "key", VISA if number % 3 else DECLINED)
            for number, order_id in enumerate(orders)
        )
    )
    assert [payment.status for payment in opened].count("captured") == 40
    assert len(await paid.event_types()) == 40
    for number, payment in enumerate(opened):
        posted = await paid.ledger(payment)
        assert [entry[2] for entry in posted] == ([-number - 1, number + 1] if number % 3 else [])
    assert {check.verdict for check in await paid.service.audit()} == {"holds"}


async def test_an_order_that_was_paid_is_not_paid_again_in_the_same_batch(paid: Shop):
    order_id = paid.order_id()
    first = await paid.open("first", order_id, method=VISA)
    outcomes = await all_at_once(lambda number: paid.open(f"key-{number}", order_id, method=VISA), 8)
    assert {getattr(outcome, "slug", "") for outcome in outcomes} == {"already-paid"}
    assert [row.id for row in await paid.rows(payments)] == [first.id]
    assert first.amount == PRICE
