"""Callbacks: believed only when signed, bound and confirmed by the provider; effective once, in any order."""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import SECRET, Shop, all_at_once, of_type
from doorbuster.contexts.payments.store.tables import payments, webhook_events
from doorbuster.contracts.orders import PaymentMismatch
from doorbuster.contracts.payments import (
    PaymentNotFound,
    ProviderNotFound,
    WebhookInvalid,
    WebhookSignatureInvalid,
    WebhookStale,
)
from doorbuster.kernel.errors import ShopError, Unavailable
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

FLIPS = 300


def row_update(payment_id: int, **values: object) -> sa.Update:
    return sa.update(payments).where(payments.c.id == payment_id).values(**values)


async def test_a_capture_is_settled_posted_and_announced(shop: Shop):
    payment = await shop.captured()
    row = await shop.row(payment.id)
    assert (row.status, row.captured_amount, row.next_check_ms) == ("captured", 1990, None)
    assert row.captured_ms == shop.clock.now_ms()
    assert await shop.ledger(payment) == [
        ("capture", "customers", -1990, "CNY"),
        ("capture", "provider:simulator", 1990, "CNY"),
    ]
    assert await shop.event_types() == ["payments.captured"]
    assert [(row.payment_id, row.effect) for row in await shop.rows(webhook_events)] == [(payment.id, "captured")]


async def test_the_same_callback_again_changes_nothing(shop: Shop):
    payment = await shop.captured()
    before = await shop.everything()
    shop.clock.advance(1000)
    for _ in range(3):
        await shop.call_back(payment)
    assert await shop.everything() == before


async def test_another_callback_of_the_same_capture_is_remembered_and_does_nothing(shop: Shop):
    payment = await shop.captured()
    await shop.call_back(payment, id="evt_another")
    assert sorted(str(row.effect) for row in await shop.rows(webhook_events)) == ["None", "captured"]
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2


async def test_concurrent_duplicates_settle_once(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    same, distinct = await shop.callback(payment), [await shop.callback(payment, id=f"evt_{n}") for n in range(8)]
    bodies = [same] * 8 + distinct
    assert await all_at_once(lambda number: shop.deliver(bodies[number]), len(bodies)) == [None] * len(bodies)
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2
    assert [row.effect for row in await shop.rows(webhook_events)].count("captured") == 1


async def test_a_capture_after_a_decline_wins(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment, "decline")
    await shop.call_back(payment, "payment.failed")
    assert await shop.status(payment) == "failed"
    await shop.desk.confirm(payment)
    await shop.call_back(payment)
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]


async def test_a_decline_told_after_the_capture_has_no_effect(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment, "decline")
    await shop.desk.confirm(payment)
    await shop.call_back(payment)
    await shop.call_back(payment, "payment.failed")
    assert await shop.status(payment) == "captured"
    assert [row.effect for row in await shop.rows(webhook_events)] == ["captured", None]
    assert len(await shop.ledger(payment)) == 2


async def test_a_decline_told_late_brings_the_capture_along(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment, "decline")
    await shop.desk.confirm(payment)
    await shop.call_back(payment, "payment.failed")
    await shop.call_back(payment)
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]


async def test_money_that_came_in_after_our_cancel_is_settled_all_the_same(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    # The provider told us "cancelled", and captured nevertheless.
    row = await shop.row(payment.id)
    await shop.tamper(row_update(row.id, status="cancelled", next_check_ms=None))
    await shop.call_back(payment)
    assert await shop.status(payment) == "captured"
    assert await shop.event_types() == ["payments.captured"]
    assert len(await shop.ledger(payment)) == 2


async def test_a_signed_callback_that_does_not_fit_the_payment_writes_nothing(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    before = await shop.everything()
    for change in (
        {"amount": 1},
        {"amount": 1991},
        {"currency": "USD"},
        {"currency": "cny"},
        {"order_id": "1"},
        {"reference": "pay_other"},
        {"refund_id": "1"},
        {"type": "refund.succeeded"},
    ):
        with pytest.raises(PaymentMismatch):
            await shop.call_back(payment, **change)
    assert await shop.everything() == before


async def test_swapped_orders_and_payments_write_nothing(shop: Shop):
    cheap, dear = await shop.open(), await shop.open()
    await shop.desk.confirm(cheap)
    row = await shop.row(cheap.id)
    before = await shop.everything()
    for change in (
        {"order_id": str(dear.order_id)},
        {"payment_id": str(dear.id)},
        {"payment_id": str(dear.id), "order_id": str(dear.order_id)},
        {"payment_id": str(dear.id), "order_id": str(dear.order_id), "reference": row.reference},
    ):
        with pytest.raises(PaymentMismatch):
            await shop.call_back(cheap, **change)
    assert await shop.everything() == before


async def test_a_signed_capture_the_provider_knows_nothing_of_is_not_believed(shop: Shop):
    payment = await shop.open()
    before = await shop.everything()
    with pytest.raises(PaymentMismatch):
        await shop.call_back(payment)
    assert await shop.everything() == before


async def test_a_signed_callback_about_an_amount_the_provider_denies_is_not_believed(shop: Shop):
    """Somebody changed our row and has the secret: the provider's own word still decides."""
    payment = await shop.open()
    await shop.desk.confirm(payment)
    await shop.tamper(row_update(payment.id, amount=1))
    before = await shop.everything()
    with pytest.raises(PaymentMismatch):
        await shop.call_back(payment)
    assert await shop.everything() == before


async def test_a_callback_about_nobody_is_not_found(shop: Shop):
    payment = await shop.open()
    before = await shop.everything()
    for unknown in ("1", "0", str(payment.id + 1)):
        with pytest.raises(PaymentNotFound):
            await shop.call_back(payment, payment_id=unknown)
    body = await shop.callback(payment)
    with pytest.raises(ProviderNotFound):
        await shop.service.receive_webhook("another", "t=1,v1=", body)
    await shop.tamper(row_update(payment.id, provider="another"))
    with pytest.raises(PaymentNotFound):
        await shop.deliver(body)
    await shop.tamper(row_update(payment.id, provider="simulator"))
    assert await shop.everything() == before


async def test_no_forgery_is_believed(shop: Shop):
    """Flipped bytes of body and signature, and signatures borrowed from another time or body."""
    payment, dice = await shop.open(), random.Random(4)
    await shop.desk.confirm(payment)
    body = await shop.callback(payment)
    header = sign((SECRET.encode(),), shop.clock.now_ms() // 1000, body)
    before = await shop.everything()
    believed = 0
    for _ in range(FLIPS):
        forged_body, forged_header = bytearray(body), bytearray(header.encode())
        target = dice.choice((forged_body, forged_header))
        target[dice.randrange(len(target))] ^= 1 << dice.randrange(8)
        try:
            await shop.service.receive_webhook("simulator", forged_header.decode("latin-1"), bytes(forged_body))
            believed += 1
        except WebhookSignatureInvalid:
            continue
    for signature in (None, "", header.replace("t=", "t=1")):
        with pytest.raises(WebhookSignatureInvalid):
            await shop.service.receive_webhook("simulator", signature, body)
    with pytest.raises(WebhookSignatureInvalid):
        await shop.deliver(body, secret="another secret")
    assert believed == 0
    assert await shop.everything() == before


async def test_a_callback_of_another_time_is_not_believed(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    before = await shop.everything()
    for seconds in (-301, 301):
        with pytest.raises(WebhookStale):
            await shop.deliver(await shop.callback(payment), at_ms=shop.clock.now_ms() + seconds * 1000)
    assert await shop.everything() == before


async def test_secrets_rotate_without_losing_a_callback(open_shop: OpenShop, shared_simulator: SimulatorProcess):
    shop = await open_shop(shared_simulator, secrets=["new", "old"])
    for secret in ("old", "new"):
        payment = await shop.open()
        await shop.desk.confirm(payment)
        await shop.deliver(await shop.callback(payment), secret=secret)
        assert await shop.status(payment) == "captured"


async def test_while_the_provider_cannot_be_asked_the_callback_is_sent_back(shop: Shop):
    payment = await shop.open()
    await shop.desk.confirm(payment)
    await shop.desk.misbehave(down=True)
    before = await shop.everything()
    with pytest.raises(Unavailable):
        await shop.call_back(payment)
    assert await shop.everything() == before
    await shop.desk.misbehave()
    await shop.call_back(payment)
    assert await shop.status(payment) == "captured"


async def test_signed_nonsense_is_refused_by_name(shop: Shop):
    for body in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"id": "", "type": "payment.captured"}',
        b'{"id": "evt", "type": "payment.captured", "created": 1, "data": {}}',
        b'{"id": "evt", "type": "payment.captured", "created": 1.5, "data": null}',
    ):
        with pytest.raises(WebhookInvalid):
            await shop.deliver(body)
    assert not await shop.rows(webhook_events)


async def test_a_kind_of_callback_we_do_nothing_about_is_taken(shop: Shop):
    payment = await shop.open()
    before = await shop.everything()
    await shop.call_back(payment, "dispute.opened")
    assert await shop.everything() == before


async def test_a_callback_during_the_opening_brings_the_reference(shop: Shop):
    """The provider acted, its answer and we were lost; the money came in before anybody resumed."""
    order_id = shop.order_id()
    payment = await shop.open(order_id=order_id)
    body = await shop.callback(payment)
    await shop.desk.confirm(payment)
    lost = {"status": "in_progress", "reference": None, "checkout_url": None, "lease_until_ms": shop.clock.now_ms()}
    await shop.tamper(row_update(payment.id, **lost))
    before = await shop.everything()
    with pytest.raises(PaymentMismatch):
        await shop.deliver(body.replace(b"pay_", b"yap_"))
    assert await shop.everything() == before
    await shop.deliver(body)
    row = await shop.row(payment.id)
    assert (row.status, row.lease_until_ms) == ("captured", None)
    assert row.reference is not None
    outcomes = await all_at_once(lambda _: shop.open(order_id=order_id), 3)
    assert [error.slug for error in of_type(outcomes, ShopError)] == ["already-paid"] * 3
