"""The audit holds while money moves, and names each corruption that is planted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import PRICE, Passing, Shop
from doorbuster.contexts.payments.statement import Expected
from doorbuster.contexts.payments.store.tables import ledger_entries, payments, refunds, webhook_events
from doorbuster.contracts.audit import BREACHES_SHOWN
from doorbuster.contracts.payments import Payment
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

BALANCE = "ledger balances"
CAPTURES = "captures posted once, with their amounts"
REFUNDS = "refunds posted once, within captures"
CALLBACKS = "callbacks take effect once"
STATEMENT = "captures and refunds = statement of simulator"
ALL = {BALANCE, CAPTURES, REFUNDS, CALLBACKS, STATEMENT}


async def broken(shop: Shop) -> set[str]:
    checks = await shop.checks()
    assert set(checks) == ALL
    for check in checks.values():
        assert (check.verdict == "broken") == bool(check.breaches)
    return {name for name, check in checks.items() if check.verdict == "broken"}


async def test_true_books_hold(shop: Shop):
    assert {check.verdict for check in (await shop.checks()).values()} == {"holds"}
    await shop.open()
    refunded = await shop.captured()
    await shop.captured()
    await shop.request_refund(refunded)
    await shop.service.refunding.sweep()
    assert {check.verdict for check in (await shop.checks()).values()} == {"holds"}


async def test_what_is_on_its_way_is_no_breach(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    assert (await shop.checks())[STATEMENT].verdict == "in flight"
    await shop.call_back(payment)
    await shop.request_refund(payment)
    await shop.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    await shop.service.refunding.sweep()
    await shop.desk.misbehave()
    checks = await shop.checks()
    assert checks[STATEMENT].verdict == "in flight"
    assert not await broken(shop)


async def test_an_unreachable_provider_is_no_breach(own_shop: Shop):
    await own_shop.captured()
    own_shop.desk.process.kill()
    check = (await own_shop.checks())[STATEMENT]
    assert (check.verdict, check.ok) == ("in flight", True)
    assert "cannot be read" in check.detail


Plant = Callable[[Shop, Payment, Payment], Awaitable[None]]


async def plant_one_sided_entry(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(sa.insert(ledger_entries).values(**entry(captured, 1, "provider:simulator", 5, refund_id=7)))


async def plant_balanced_entries(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(sa.insert(ledger_entries).values(**entry(captured, 1, "mine", 5)))
    await shop.tamper(sa.insert(ledger_entries).values(**entry(captured, 1, "yours", -5)))


async def plant_capture_of_nobody(shop: Shop, captured: Payment, _: Payment) -> None:
    for account, amount in (("provider:simulator", 5), ("customers", -5)):
        await shop.tamper(sa.insert(ledger_entries).values(**(entry(captured, 1, account, amount) | {"payment_id": 8})))


async def plant_uncaptured(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(
        sa.update(payments)
        .where(payments.c.id == captured.id)
        .values(status="cancelled", captured_amount=0, captured_ms=None)
    )
    shop.clock.advance(60_000)


async def plant_capture_nobody_made(shop: Shop, _captured: Payment, _refunded: Payment) -> None:
    payment = await shop.open()
    await shop.tamper(
        sa.update(payments)
        .where(payments.c.id == payment.id)
        .values(status="captured", captured_amount=payments.c.amount, captured_ms=1)
    )


async def plant_other_amount(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(sa.update(payments).where(payments.c.id == captured.id).values(amount=1991, captured_amount=1991))


async def plant_other_order(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(sa.update(payments).where(payments.c.id == captured.id).values(order_id=9))


async def plant_lost_payment(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(sa.delete(payments).where(payments.c.id == captured.id))


async def plant_unmade_refund(shop: Shop, _: Payment, refunded: Payment) -> None:
    await shop.tamper(sa.update(refunds).values(status="requested", succeeded_ms=None))
    await shop.tamper(
        sa.update(payments)
        .where(payments.c.id == refunded.id)
        .values(status="refunding", refunded_amount=0, refunded_ms=None)
    )


async def plant_lost_refund(shop: Shop, _captured: Payment, _refunded: Payment) -> None:
    await shop.tamper(sa.delete(refunds))


async def plant_refund_nobody_made(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(
        sa.insert(refunds).values(
            id=5,
            payment_id=captured.id,
            cause="thief",
            amount=1990,
            currency="CNY",
            status="succeeded",
            attempts=1,
            next_try_ms=0,
            created_ms=0,
            succeeded_ms=1,
        )
    )


async def plant_forgotten_refund(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.tamper(
        sa.update(payments).where(payments.c.id == captured.id).values(status="refunding", refund_requested=1990)
    )


async def plant_second_effect(shop: Shop, captured: Payment, _: Payment) -> None:
    await shop.call_back(captured, id="evt_second")
    await shop.tamper(
        sa.update(webhook_events).where(webhook_events.c.event_id == "evt_second").values(effect="captured")
    )


def entry(payment: Payment, transaction_id: int, account: str, amount: int, refund_id: int = 0) -> dict[str, object]:
    return {
        "transaction_id": transaction_id,
        "account": account,
        "payment_id": payment.id,
        "refund_id": refund_id,
        "kind": "refund" if refund_id else "capture",
        "amount": amount,
        "currency": "CNY",
        "cause": "planted",
        "at_ms": 0,
    }


IN_THE_LEDGER: list[tuple[Plant, set[str]]] = [
    (plant_one_sided_entry, {BALANCE, REFUNDS}),
    (plant_balanced_entries, {CAPTURES}),
    (plant_capture_of_nobody, {CAPTURES}),
]
IN_OTHER_ROWS: list[tuple[Plant, set[str]]] = [
    (plant_uncaptured, {CAPTURES, CALLBACKS, STATEMENT}),
    (plant_capture_nobody_made, {CAPTURES, STATEMENT}),
    (plant_other_amount, {CAPTURES, STATEMENT}),
    (plant_other_order, {STATEMENT}),
    (plant_lost_payment, {CAPTURES, CALLBACKS, STATEMENT}),
    (plant_unmade_refund, {REFUNDS}),
    (plant_lost_refund, {REFUNDS, STATEMENT}),
    (plant_refund_nobody_made, {REFUNDS, STATEMENT}),
    (plant_forgotten_refund, {REFUNDS}),
    (plant_second_effect, {CALLBACKS}),
]


async def true_books(shop: Shop) -> tuple[Payment, Payment]:
    """A captured payment and a refunded one."""
    captured, refunded = await shop.captured(), await shop.captured()
    await shop.request_refund(refunded)
    await shop.service.refunding.sweep()
    assert not await broken(shop)
    return captured, refunded


@pytest.mark.parametrize(("plant", "found"), IN_THE_LEDGER, ids=[plant.__name__ for plant, _ in IN_THE_LEDGER])
async def test_each_corruption_planted_in_the_ledger_is_found(shop: Shop, plant: Plant, found: set[str]):
    await plant(shop, *await true_books(shop))
    assert await broken(shop) == found


async def test_each_corruption_planted_in_other_rows_is_found(shop: Shop):
    captured, refunded = await true_books(shop)
    before = [(table, await shop.rows(table)) for table in (payments, refunds, webhook_events)]
    for plant, found in IN_OTHER_ROWS:
        await plant(shop, captured, refunded)
        assert await broken(shop) == found, plant.__name__
        for table, rows in before:
            await shop.tamper(sa.delete(table))
            await shop.tamper(sa.insert(table).values([dict(row._mapping) for row in rows]))
        assert not await broken(shop), f"after {plant.__name__}"


async def test_money_the_provider_took_for_somebody_else_is_named(open_shop: OpenShop, own_simulator: SimulatorProcess):
    shop = await open_shop(own_simulator, wrap=Passing)
    stranger = await shop.desk.client.post(
        "/v1/intents",
        json={"id": "999", "order_id": "1", "amount": 5, "currency": "CNY", "webhook_url": "http://127.0.0.1:9/"},
    )
    await shop.desk.client.post(f"/checkout/{stranger.json()['reference']}/confirm", json={"outcome": "success"})
    check = (await shop.checks())[STATEMENT]
    assert check.verdict == "broken"
    assert "payment 999" in check.breaches[0]


async def test_there_is_no_false_alarm_while_money_moves(shop: Shop):

    async def buy() -> None:
        payment = await shop.captured()
        await shop.request_refund(payment)

    async def refund() -> None:
        while True:
            await shop.service.refunding.sweep()
            await asyncio.sleep(0.005)

    refunding = asyncio.create_task(refund())
    buying = asyncio.gather(*(buy() for _ in range(24)))
    audits = 0
    while not buying.done():
        assert not await broken(shop)
        audits += 1
    await buying
    refunding.cancel()
    await asyncio.wait([refunding])
    assert audits > 1
    assert not await broken(shop)


async def test_the_facts_are_all_that_was_ever_captured_in_order(shop: Shop):
    first, second = await shop.captured(), await shop.captured()
    await shop.open()
    await shop.request_refund(second)
    facts = [fact async for page in shop.service.captured_facts() for fact in page]
    assert [(fact.payment_id, fact.order_id, fact.amount, fact.status) for fact in facts] == [
        (first.id, first.order_id, PRICE, "captured"),
        (second.id, second.order_id, PRICE, "refunding"),
    ]
    rest = [fact async for page in shop.service.captured_facts(after=first.id) for fact in page]
    assert rest == facts[1:]


def test_expected_ids_are_seen_once_and_missed_when_they_were_not():
    expected = Expected()
    for start in range(0, 100, 10):
        expected.add(range(start, start + 10, 2))
    assert len(expected) == 50
    assert [expected.see(number) for number in (0, 0, 1, 1, 98, 200)] == [True, False, True, True, True, True]
    assert expected.unseen(3) == [2, 4, 6]
    assert len(expected.unseen(BREACHES_SHOWN * 100)) == 48
