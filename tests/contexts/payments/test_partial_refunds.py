"""Refunds in parts: each once per cause, together never more than came in, and the payment says how far it is."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from contexts.payments.paying_shop import Shop, all_at_once, of_type
from doorbuster.contexts.payments.refunding import RefundImpossible
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds
from doorbuster.contracts.orders import PaymentMismatch
from doorbuster.contracts.payments import AlreadyPaid
from doorbuster.kernel.money import Money


def cny(amount: int) -> Money:
    return Money(amount, "CNY")


async def standing(shop: Shop, payment_id: int) -> tuple[str, int, int]:
    row = await shop.row(payment_id)
    return row.status, row.refund_requested, row.refunded_amount


async def test_parts_go_back_one_by_one_until_nothing_is_left(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment, "line-1", amount=cny(500))
    assert await standing(shop, payment.id) == ("captured", 500, 0)
    await shop.service.refunding.sweep()
    assert await standing(shop, payment.id) == ("captured", 500, 500)
    await shop.request_refund(payment, "line-2", amount=cny(490))
    await shop.request_refund(payment, "rest", amount=cny(1000))
    assert await standing(shop, payment.id) == ("refunding", 1990, 500)
    await shop.service.refunding.sweep()
    assert await standing(shop, payment.id) == ("refunded", 1990, 1990)
    told = [(event.amount.amount, event.cause, event.whole) for event in await shop.refunds_told()]
    assert told == [(500, "line-1", False), (490, "line-2", False), (1000, "rest", True)]
    assert sorted(line["amount"] for line in await shop.desk.statement(payment.id)) == [490, 500, 1000, 1990]
    entries = await shop.rows(ledger_entries, ledger_entries.c.kind == "refund")
    assert sorted(row.amount for row in entries) == [-1000, -500, -490, 490, 500, 1000]
    assert {check.verdict for check in await shop.service.audit()} == {"holds"}


async def test_the_same_cause_is_given_back_once(shop: Shop):
    payment = await shop.captured()
    for amount in (500, 500, 700):
        await shop.request_refund(payment, "line-1", amount=cny(amount))
    await shop.service.refunding.sweep()
    await shop.request_refund(payment, "line-1", amount=cny(500))
    assert await shop.service.refunding.sweep() == 0
    assert await standing(shop, payment.id) == ("captured", 500, 500)


async def test_more_than_is_left_is_parked_and_writes_nothing(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment, "line-1", amount=cny(1000))
    before = await shop.everything()
    for change in ({"amount": cny(991)}, {"amount": cny(1990)}, {"amount": Money(5, "USD")}, {"order_id": 5}):
        with pytest.raises(RefundImpossible):
            await shop.request_refund(payment, "more", **change)
    assert await shop.everything() == before
    await shop.request_refund(payment, "rest", amount=cny(990))
    with pytest.raises(RefundImpossible):
        await shop.request_refund(payment, "one more", amount=cny(1))


async def test_many_at_once_never_ask_for_more_than_came_in(shop: Shop):
    payment = await shop.captured()
    outcomes = await all_at_once(lambda number: shop.request_refund(payment, f"cause-{number}", amount=cny(199)), 24)
    assert len(of_type(outcomes, RefundImpossible)) == 14
    assert await standing(shop, payment.id) == ("refunding", 1990, 0)
    while await shop.service.refunding.sweep():
        pass
    assert await standing(shop, payment.id) == ("refunded", 1990, 1990)
    assert [event.whole for event in await shop.refunds_told()].count(True) == 1
    assert len(await shop.rows(refunds)) == 10


async def test_a_partly_refunded_order_is_paid(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment, "line-1", amount=cny(1))
    await shop.service.refunding.sweep()
    assert await shop.service.close_open([payment.order_id]) == {payment.order_id: "captured"}
    with pytest.raises(AlreadyPaid):
        await shop.open("another", payment.order_id)


async def test_a_callback_completes_the_part_it_names_and_what_else_was_made(shop: Shop):
    payment = await shop.captured()
    for number, amount in enumerate((300, 400)):
        await shop.request_refund(payment, f"line-{number}", amount=cny(amount))
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    await shop.service.refunding.sweep()
    await shop.desk.misbehave()
    await shop.request_refund(payment, "line-3", amount=cny(5))
    first, second, unmade = await shop.rows(refunds)
    before = await shop.everything()
    with pytest.raises(PaymentMismatch):
        await shop.call_back(payment, "refund.succeeded", refund_id=str(unmade.id), amount=5)
    assert await shop.everything() == before
    await shop.call_back(payment, "refund.succeeded", refund_id=str(first.id), amount=300)
    assert await standing(shop, payment.id) == ("captured", 705, 700)
    await shop.call_back(payment, "refund.succeeded", refund_id=str(second.id), amount=400, id="evt_2")
    assert {row.status for row in await shop.rows(refunds, refunds.c.id != unmade.id)} == {"succeeded"}
    assert {check.verdict for check in await shop.service.audit()} == {"holds"}


async def test_facts_say_how_much_was_asked_back(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment, "line-1", amount=cny(700))
    (fact,) = await shop.service.captured_facts_of([payment.id])
    assert (fact.status, fact.amount, fact.refund_requested) == ("captured", cny(1990), cny(700))


async def test_a_request_that_the_payment_does_not_count_is_found(shop: Shop):
    payment = await shop.captured()
    await shop.request_refund(payment, "line-1", amount=cny(700))
    await shop.tamper(sa.update(payments).where(payments.c.id == payment.id).values(refund_requested=600))
    broken = [check for check in await shop.service.audit() if check.verdict == "broken"]
    assert [check.name for check in broken] == ["refunds posted once, within captures"]
    assert str(payment.id) in broken[0].breaches[0]
