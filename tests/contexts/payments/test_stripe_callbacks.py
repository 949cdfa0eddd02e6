"""Callbacks of the payment intents protocol: signed among other schemes, bound to our rows, asked about."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from contexts.payments.conftest import OpenShop
from contexts.payments.paying_shop import SECRET, Front, Shop, until
from doorbuster.contexts.payments.callbacks import read_stripe
from doorbuster.contexts.payments.signatures import Verifier
from doorbuster.contexts.payments.store.tables import refunds, webhook_events
from doorbuster.contracts.orders import PaymentMismatch
from doorbuster.contracts.payments import (
    Payment,
    PaymentNotFound,
    WebhookInvalid,
    WebhookSignatureInvalid,
    WebhookStale,
)
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.money import Money
from doorbuster.lab.payment_simulator.signatures import sign
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

NOW_MS = 1_790_000_000_000


@pytest.fixture
async def paid(open_shop: OpenShop, shared_simulator: SimulatorProcess) -> Shop:
    return await open_shop(shared_simulator, protocol="stripe")


async def event(shop: Shop, payment: Payment, kind: str = "payment_intent.succeeded", **changes: Any) -> bytes:
    row = await shop.row(payment.id)
    subject = {
        "id": row.reference,
        "object": "payment_intent",
        "status": "succeeded",
        "amount": row.amount,
        "amount_received": row.amount,
        "currency": row.currency.lower(),
        "latest_charge": "ch_1",
        "metadata": {"payment_id": str(row.id), "order_id": str(row.order_id)},
    }
    subject["metadata"] |= changes.pop("metadata", {})
    body = {"id": f"evt_{kind}_{row.id}", "type": kind, "created": shop.clock.now_ms() // 1000}
    for name, value in changes.items():
        (body if name in body else subject)[name] = value
    return msgspec.json.encode(body | {"data": {"object": subject}})


async def deliver(shop: Shop, body: bytes, header: str | None = None) -> None:
    signature = header or sign((SECRET.encode(),), shop.clock.now_ms() // 1000, body)
    await shop.service.receive_webhook("stripe", signature, body)


async def test_a_capture_is_settled_once(paid: Shop):
    payment = await paid.open()
    await paid.desk.confirm(payment)
    for event_id in ("evt_1", "evt_1", "evt_2"):
        await deliver(paid, await event(paid, payment, id=event_id))
    assert await paid.status(payment) == "captured"
    assert await paid.event_types() == ["payments.captured"]
    assert len(await paid.rows(webhook_events)) == 2


async def test_what_does_not_fit_writes_nothing(paid: Shop):
    payment, other = await paid.open(), await paid.open()
    await paid.desk.confirm(payment)
    before = await paid.everything()
    their_row = await paid.row(other.id)
    for change in (
        {"amount": 1},
        {"currency": "usd"},
        {"id": "pi_other"},
        {"metadata": {"order_id": str(other.order_id)}},
        {"metadata": {"payment_id": str(other.id)}},
        {"metadata": {"payment_id": str(other.id), "order_id": str(other.order_id)}, "id": their_row.reference},
    ):
        body = await event(paid, payment, **change)
        if change.get("id") == "pi_other":  # the name of the event and of its subject are both `id`
            body = (await event(paid, payment)).replace((await paid.row(payment.id)).reference.encode(), b"pi_other")
        with pytest.raises((PaymentMismatch, PaymentNotFound)):
            await deliver(paid, body)
    assert await paid.everything() == before


async def test_a_signed_capture_that_the_provider_denies_is_not_believed(paid: Shop):
    payment = await paid.open()
    before = await paid.everything()
    with pytest.raises(PaymentMismatch):
        await deliver(paid, await event(paid, payment))
    assert await paid.everything() == before


async def test_no_forgery_is_believed(paid: Shop):
    payment, dice = await paid.open(), random.Random(5)
    await paid.desk.confirm(payment)
    body = await event(paid, payment)
    genuine = sign((SECRET.encode(),), paid.clock.now_ms() // 1000, body)
    before = await paid.everything()
    for _ in range(200):
        forged_body, header = bytearray(body), bytearray(genuine.encode())
        target = dice.choice((forged_body, header))
        target[dice.randrange(len(target))] ^= 1 << dice.randrange(8)
        with pytest.raises(WebhookSignatureInvalid):
            await deliver(paid, bytes(forged_body), header.decode("latin-1"))
    for seconds in (-301, 301):
        with pytest.raises(WebhookStale):
            await deliver(paid, body, sign((SECRET.encode(),), paid.clock.now_ms() // 1000 + seconds, body))
    assert await paid.everything() == before


def test_signatures_of_other_schemes_are_not_looked_at():
    body, verifier = b"{}", Verifier(["new", "old"], 300, other_schemes=True)
    at = f"t={NOW_MS // 1000}"
    good = sign((b"old",), NOW_MS // 1000, body).removeprefix(f"{at},")
    other = "0" * 64
    for header in (f"{at},{good}", f"{at},v0={other},{good}", f"{at},v1={other},{good},v0={other}"):
        verifier.verify(header, body, NOW_MS)
    for header in (f"{at},v0={good[3:]}", f"{at},v1={other}", at, f"{good},{at}", f"{at},{good},", f"{at},{at},{good}"):
        with pytest.raises(WebhookSignatureInvalid):
            verifier.verify(header, body, NOW_MS)


def test_what_is_not_ours_is_taken_and_left_alone():
    ours = {"payment_id": "1", "order_id": "2"}
    intent = {"id": "pi_1", "status": "succeeded", "amount": 5, "amount_received": 5, "currency": "cny"}
    for kind, subject in (
        ("customer.created", {"id": "cus_1"}),
        ("payment_intent.succeeded", intent | {"metadata": {}}),
        ("refund.updated", {"id": "re_1", "amount": 5, "currency": "cny", "status": "succeeded", "metadata": ours}),
        ("refund.updated", {"id": "re_1", "amount": 5, "currency": "cny", "status": "pending", "metadata": ours}),
    ):
        body = msgspec.json.encode({"id": "evt_1", "type": kind, "created": 5, "data": {"object": subject}})
        assert read_stripe(body) is None


def test_signed_nonsense_is_refused_by_name():
    start = b'{"id":"evt_1","type":"payment_intent.succeeded","created":5,"data":'
    for body in (b"", b"{", b"[]", b"\xff", b"[" * 5000, start + b"{}}", start + b'{"object":{"id":"pi_1"}}}'):
        with pytest.raises(ShopError) as refused:
            read_stripe(body)
        assert isinstance(refused.value, WebhookInvalid)


async def test_refunds_are_told_by_their_own_event_and_by_their_charges(paid: Shop):
    payment = await paid.open(method="pm_card_visa")
    for number in range(3):
        await paid.request_refund(payment, f"line-{number}", amount=Money(100 + number, "CNY"))
    await paid.desk.misbehave(drop_reply=True, drop_reply_times=1000)
    await paid.service.refunding.sweep()
    await paid.desk.misbehave()
    assert {row.status for row in await paid.rows(refunds)} == {"requested"}
    charge = {"id": "ch_1", "amount": 1990, "amount_refunded": 303, "currency": "cny"}
    row = await paid.row(payment.id)
    body = await event(paid, payment, "charge.refunded", **charge, payment_intent=row.reference)
    await deliver(paid, body.replace(b'"id":"ch_1","type"', b'"id":"evt_9","type"'))
    assert {row.status for row in await paid.rows(refunds)} == {"succeeded"}
    assert (await paid.row(payment.id)).refunded_amount == 303
    assert (await paid.event_types()).count("payments.refunded") == 3


async def test_callbacks_really_sent_settle_each_payment_once(
    open_shop: OpenShop, tmp_path_factory: pytest.TempPathFactory
):
    front = Front()
    data = tmp_path_factory.mktemp("simulator") / "stripe.sqlite"
    arguments = ("--tries-max", "50", "--retry-base-ms", "20", "--retry-cap-ms", "100")
    url = ("--stripe-webhook-url", front.webhook_url_of("stripe"))
    with SimulatorProcess(data, secrets=["another one"], stripe_secrets=[SECRET], arguments=(*arguments, *url)) as one:
        shop = await open_shop(one, protocol="stripe")
        await front.open(shop.service)
        await shop.desk.misbehave(twice=True, twice_gap_ms=[0, 20], forged=True, out_of_order=0.5, late=0.5)
        opened = [await shop.open(method="pm_card_declined" if number % 2 else None) for number in range(6)]
        for payment in opened:
            await shop.desk.confirm(payment)

        async def settled() -> bool:
            return (await shop.event_types()).count("payments.captured") == len(opened)

        async def delivered() -> bool:
            return (await shop.desk.stats())["deliveries_pending"] == 0

        await until(settled)
        await until(delivered)
        assert (await shop.desk.stats())["deliveries"]["forged"].get("accepted", 0) == 0
        assert {check.verdict for check in await shop.service.audit()} == {"holds"}
    await front.close()
