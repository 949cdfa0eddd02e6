"""The payment intents adapter believes no answer that it has not checked, and knows refusals from outages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from contexts.payments.test_model import PENDING, REFUND
from contexts.payments.test_simulator_adapter import Liar
from doorbuster.contexts.payments.model import PaymentRecord
from doorbuster.contexts.payments.provider import CONFLICT, IntentUnknown, ProviderRefused
from doorbuster.contexts.payments.resilience import TRIES_MAX
from doorbuster.contexts.payments.stripe_protocol import PaymentIntentsProvider
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.errors import Unavailable

PAYMENT: PaymentRecord = replace(PENDING, reference="pi_1")
INTENT = (
    '{"id":"pi_1","status":"succeeded","amount":1990,"amount_received":1990,"currency":"cny",'
    '"metadata":{"payment_id":"1","order_id":"2"},"latest_charge":'
    '{"id":"ch_1","amount":1990,"amount_refunded":0,"currency":"cny"}}'
)
A_REFUND = (
    '{"id":"re_1","amount":1990,"currency":"cny","status":"succeeded","payment_intent":"pi_1",'
    '"metadata":{"refund_id":"9"}}'
)
MOVED = (
    '{"id":"txn_1","type":"charge","amount":1990,"currency":"cny","created":1790000000,"source":'
    '{"id":"ch_1","object":"charge","metadata":{"payment_id":"1","order_id":"2"}}}'
)
Call = Callable[[PaymentIntentsProvider], Awaitable[object]]
CALLS: dict[str, tuple[Call, str]] = {
    "create": (lambda adapter: adapter.create_intent(PAYMENT, "pm_card_visa"), INTENT),
    "get": (lambda adapter: adapter.get_intent(PAYMENT), INTENT),
    "cancel": (lambda adapter: adapter.cancel_intent(PAYMENT), INTENT),
    "refund": (lambda adapter: adapter.refund(REFUND, PAYMENT), A_REFUND),
    "refunds": (lambda adapter: adapter.made_refunds(PAYMENT), f'{{"data":[{A_REFUND}],"has_more":false}}'),
    "statement": (lambda adapter: adapter.statement(None, 10), f'{{"data":[{MOVED}],"has_more":false}}'),
}


class Lied:
    def __init__(self, liar: Liar, adapter: PaymentIntentsProvider) -> None:
        self.liar = liar
        self.adapter = adapter

    def says(self, body: str | bytes, status: int = 200) -> None:
        self.liar.body = body.encode() if isinstance(body, str) else body
        self.liar.status = status


@pytest.fixture
async def lied() -> AsyncIterator[Lied]:
    liar = Liar()
    adapter = PaymentIntentsProvider(await liar.open(), "sk_test", ManualClock(0), 2.0, first_pause_s=0.001)
    yield Lied(liar, adapter)
    await adapter.close()
    await liar.close()


@pytest.mark.parametrize("name", CALLS)
async def test_what_cannot_be_understood_is_not_believed(lied: Lied, name: str):
    call, truth = CALLS[name]
    lied.says(truth)
    await call(lied.adapter)
    for nonsense in ("", "{", "[]", "null", "{}", truth[:-1], truth.replace('"', ""), b"\xff", "<html>"):
        lied.says(nonsense)
        with pytest.raises(Unavailable):
            await call(lied.adapter)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("create", "pi_1", "pi 1"),
        ("create", '"status":"succeeded"', '"status":"paid"'),
        ("get", '"amount":1990', '"amount":-1'),
        ("get", '"amount":1990', '"amount":"1990"'),
        ("get", '"currency":"cny"', '"currency":"CNY"'),
        ("get", '"amount_received":1990', '"amount_received":19.9'),
        ("cancel", '"metadata":{"payment_id":"1","order_id":"2"}', '"metadata":null'),
        ("refund", '"refund_id":"9"', '"refund_id":"8"'),
        ("refund", '"amount":1990', '"amount":1'),
        ("refund", "cny", "usd"),
        ("refund", "succeeded", "pending"),
        ("statement", '"amount":1990', '"amount":1e30'),
        ("statement", '"created":1790000000', '"created":-5'),
    ],
)
async def test_a_value_out_of_its_bounds_is_not_believed(lied: Lied, name: str, old: str, new: str):
    call, truth = CALLS[name]
    assert old in truth
    lied.says(truth.replace(old, new))
    with pytest.raises(Unavailable):
        await call(lied.adapter)


async def test_an_intent_of_somebody_else_has_none_of_our_ids(lied: Lied):
    for metadata in ("{}", '{"payment_id":"x","order_id":"99999999999999999999"}'):
        lied.says(INTENT.replace('{"payment_id":"1","order_id":"2"}', metadata))
        intent = await lied.adapter.get_intent(PAYMENT)
        assert (intent.payment_id, intent.order_id) == (0, 0)


def error(kind: str, code: str = "") -> str:
    return f'{{"error":{{"type":"{kind}","code":"{code}"}}}}'


async def test_refusals_outages_and_strangers_differ(lied: Lied):
    create, refund = CALLS["create"][0], CALLS["refund"][0]
    for call in (create, refund):
        lied.says(error("invalid_request_error", "amount_too_large"), 400)
        with pytest.raises(ProviderRefused, match="amount-too-large"):
            await call(lied.adapter)
        lied.says(error("idempotency_error"), 400)
        with pytest.raises(ProviderRefused) as refused:
            await call(lied.adapter)
        assert refused.value.slug == CONFLICT
        for status, body in ((400, "<html>"), (401, error("invalid_request_error")), (403, ""), (302, ""), (404, "")):
            lied.says(body, status)
            with pytest.raises(Unavailable):
                await call(lied.adapter)
    lied.says(error("card_error", "card_declined"), 402)
    with pytest.raises(ProviderRefused):
        await create(lied.adapter)
    lied.says(error("invalid_request_error", "resource_missing"), 404)
    for name in ("get", "cancel", "refunds"):
        with pytest.raises(IntentUnknown):
            await CALLS[name][0](lied.adapter)
    lied.says(A_REFUND.replace("succeeded", "failed"))
    with pytest.raises(ProviderRefused, match="refund-failed"):
        await refund(lied.adapter)


async def test_outages_and_keys_in_use_are_asked_again_and_only_so_often(lied: Lied):
    for status in (409, 429, 500, 503):
        lied.says("", status)
        lied.liar.requests.clear()
        with pytest.raises(Unavailable):
            await CALLS["create"][0](lied.adapter)
        assert lied.liar.requests == [b"POST /v1/payment_intents HTTP/1.1"] * TRIES_MAX


async def test_what_is_no_capture_and_no_refund_is_no_line(lied: Lied):
    fee = MOVED.replace('"type":"charge"', '"type":"stripe_fee"')
    back = MOVED.replace('"type":"charge","amount":1990', '"type":"refund","amount":-5')
    lied.says(f'{{"data":[{fee},{back},{MOVED}],"has_more":true}}')
    page = await lied.adapter.statement(None, 10)
    assert [(line.kind, line.amount, line.at_ms) for line in page.lines] == [
        ("refund", 5, 1_790_000_000_000),
        ("capture", 1990, 1_790_000_000_000),
    ]
    assert page.next_after == "txn_1"
