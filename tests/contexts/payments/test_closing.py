"""Closing the payments of orders: afterwards no money comes in, or it has come in and is settled."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import Passing, Shop
from doorbuster.contexts.payments.model import Intent, Pace, PaymentRecord
from doorbuster.contexts.payments.provider import Provider
from doorbuster.contexts.payments.store.tables import payments
from doorbuster.contracts.payments import CLOSE_MAX
from doorbuster.kernel.errors import Invalid, Unavailable
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess


async def test_an_open_payment_is_cancelled_for_ever(shop: Shop):
    payment = await shop.open()
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "closed"}
    await shop.desk.confirm(payment)
    row = await shop.row(payment.id)
    assert (row.status, row.next_check_ms) == ("cancelled", None)
    assert await shop.desk.statement(payment.id) == []
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "closed"}


async def test_a_payment_that_was_paid_meanwhile_is_settled(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "captured"}
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "captured"}
    await shop.call_back(payment)
    assert await shop.event_types() == ["payments.captured"]


async def test_a_declined_payment_can_still_be_paid_until_it_is_closed(shop: Shop):
    declined, retried = await shop.open(), await shop.open()
    for payment in (declined, retried):
        await shop.desk.confirm(payment, "decline")
        await shop.call_back(payment, "payment.failed")
    await shop.desk.confirm(retried)
    answers = await shop.service.close_open([declined.order_id, retried.order_id])
    assert answers == {declined.order_id: "closed", retried.order_id: "captured"}
    await shop.desk.confirm(declined)
    assert await shop.desk.statement(declined.id) == []


async def test_orders_without_payments_are_closed_without_asking(shop: Shop):
    await shop.desk.misbehave(down=True)
    assert await shop.service.close_open([1, 2, 2]) == {1: "closed", 2: "closed"}
    assert await shop.service.close_open([]) == {}


async def test_while_the_provider_is_away_nothing_is_said(shop: Shop):
    paid, unpaid = await shop.captured(), await shop.open()
    await shop.desk.misbehave(down=True)
    answers = await shop.service.close_open([paid.order_id, unpaid.order_id, 3])
    assert answers == {paid.order_id: "captured", unpaid.order_id: "unknown", 3: "closed"}
    assert await shop.status(unpaid) == "pending"


async def test_a_refunded_payment_holds_nothing(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment)
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "closed"}
    await shop.service.refunding.sweep()
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "closed"}


async def test_a_payment_the_provider_never_heard_of_is_closed_before_it_does(shop: Shop):
    """The request that opens it may be slow, not lost: its id is taken by a cancelled intent."""
    await shop.desk.misbehave(down=True)
    order_id = shop.order_id()
    with pytest.raises(Unavailable):
        await shop.open(order_id=order_id)
    await shop.desk.misbehave()
    (row,) = await shop.rows(payments)
    assert await shop.desk.intent(row.id) is None
    assert await shop.service.close_open([order_id]) == {order_id: "closed"}
    intent = await shop.desk.intent(row.id)
    assert intent is not None
    assert intent["status"] == "cancelled"
    assert (await shop.row(row.id)).status == "cancelled"


async def test_many_orders_are_closed_in_pages(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, pace=Pace(page=4, at_once=3))
    opened = [await shop.open() for _ in range(10)]
    for payment in opened[::2]:
        await shop.desk.confirm(payment)
    answers = await shop.service.close_open([payment.order_id for payment in opened])
    assert list(answers.values()).count("captured") == 5
    assert list(answers.values()).count("closed") == 5
    assert sorted(row.status for row in await shop.rows(payments)) == ["cancelled"] * 5 + ["captured"] * 5
    assert await shop.event_types() == ["payments.captured"] * 5


class Away(Passing):
    """A provider that is away, as far as cancelling goes."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider)
        self.asked = 0

    async def cancel_intent(self, payment: PaymentRecord) -> Intent:
        self.asked += 1
        raise Unavailable


async def test_an_outage_ends_the_questions(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, wrap=Away, pace=Pace(page=4, at_once=1, outages_max=2))
    opened = [await shop.open() for _ in range(9)]
    answers = await shop.service.close_open([payment.order_id for payment in opened])
    assert set(answers.values()) == {"unknown"}
    away = shop.till.providers["simulator"]
    assert isinstance(away, Away)
    assert away.asked == 2
    assert {row.status for row in await shop.rows(payments)} == {"pending"}


async def test_a_provider_that_speaks_of_another_amount_is_not_obeyed(shop: Shop):
    payment = await shop.open()
    await shop.tamper(sa.update(payments).where(payments.c.id == payment.id).values(amount=1991))
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "unknown"}
    assert await shop.status(payment) == "pending"


async def test_a_provider_that_speaks_of_another_order_is_not_obeyed(shop: Shop):
    payment = await shop.open()
    await shop.tamper(sa.update(payments).where(payments.c.id == payment.id).values(order_id=5))
    assert await shop.service.close_open([5]) == {5: "unknown"}
    assert await shop.status(payment) == "pending"


async def test_too_many_orders_are_refused(shop: Shop):
    with pytest.raises(Invalid):
        await shop.service.close_open(range(1, CLOSE_MAX + 2))
