"""The adapter believes no answer that it has not checked, and bounds all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec.structs import replace

from contexts.payments.test_model import PENDING, REFUND
from doorbuster.contexts.payments.http_client import ANSWER_BYTES_MAX, CONNECTIONS_MAX
from doorbuster.contexts.payments.provider import IntentUnknown, ProviderRefused
from doorbuster.contexts.payments.resilience import TRIES_MAX
from doorbuster.contexts.payments.simulator import PaymentSimulator
from doorbuster.kernel.errors import Unavailable

INTENT = (
    '{"id":"1","reference":"pay_1","status":"captured","order_id":"2",'
    '"amount":1990,"currency":"CNY","captured":1990,"refunded":0}'
)
CREATED = (
    '{"id":"1","reference":"pay_1","status":"requires_payment","order_id":"2","amount":1990,"currency":"CNY",'
    '"captured":0,"refunded":0,"checkout_url":"http://p/checkout/pay_1"}'
)
LINE = (
    '{"kind":"capture","payment_id":"1","order_id":"2","refund_id":null,"amount":1990,"currency":"CNY",'
    '"at":"2026-11-21T02:00:00.123Z"}'
)


class Liar:
    """A provider that answers whatever it is told to."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.delay_s = 0.0
        self.requests: list[bytes] = []
        self.at_once = self.most_at_once = 0
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.split(b"\r\n")[0])
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.delay_s)
        self.at_once -= 1
        length = len(self.body)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (self.status, length))
        writer.write(self.body)
        writer.close()


class Lied:
    def __init__(self, liar: Liar, adapter: PaymentSimulator, url: str) -> None:
        self.liar = liar
        self.url = url
        self.adapter = adapter

    def says(self, body: str | bytes, status: int = 200) -> None:
        self.liar.body = body.encode() if isinstance(body, str) else body
        self.liar.status = status


@pytest.fixture
async def lied() -> AsyncIterator[Lied]:
    liar = Liar()
    url = await liar.open()
    adapter = PaymentSimulator(url, "http://shop/webhooks", timeout_s=2.0)
    yield Lied(liar, adapter, url)
    await adapter.close()
    await liar.close()


Call = Callable[[PaymentSimulator], Awaitable[object]]
CALLS: dict[str, tuple[Call, str]] = {
    "create": (lambda adapter: adapter.create_intent(PENDING, None), CREATED),
    "get": (lambda adapter: adapter.get_intent(PENDING), INTENT),
    "cancel": (lambda adapter: adapter.cancel_intent(PENDING), INTENT),
    "refund": (lambda adapter: adapter.refund(replace(REFUND, id=1), PENDING), '{"id":"1","status":"succeeded"}'),
    "refunds": (
        lambda adapter: adapter.made_refunds(PENDING),
        '{"items":[{"id":"9","amount":5,"currency":"CNY"}]}',
    ),
    "statement": (lambda adapter: adapter.statement(None, 10), f'{{"items":[{LINE}],"next_cursor":null}}'),
}


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
        ("create", "http://p/", "javascript:alert(1)//"),
        ("create", "requires_payment", "paid"),
        ("create", '"pay_1"', '"pay 1"'),
        ("get", '"amount":1990', '"amount":-1'),
        ("get", '"amount":1990', '"amount":19.9'),
        ("get", '"amount":1990', '"amount":"1990"'),
        ("get", '"amount":1990', '"amount":100000000000001'),
        ("get", "CNY", "cny"),
        ("get", '"id":"1"', '"id":"9223372036854775808"'),
        ("get", '"id":"1"', '"id":1'),
        ("get", '"order_id":"2"', '"order_id":"x"'),
        ("cancel", '"refunded":0', '"refunded":null'),
        ("refund", '"id":"1"', '"id":"2"'),
        ("refund", "succeeded", "pending"),
        ("statement", "2026-11-21T02:00:00.123Z", "yesterday"),
        ("statement", '"kind":"capture"', '"kind":"gift"'),
    ],
)
async def test_a_value_out_of_its_bounds_is_not_believed(lied: Lied, name: str, old: str, new: str):
    call, truth = CALLS[name]
    assert old in truth
    lied.says(truth.replace(old, new))
    with pytest.raises(Unavailable):
        await call(lied.adapter)


async def test_refusals_outages_and_strangers_differ(lied: Lied):
    by_no_intent = {
        "create": ProviderRefused,
        "get": IntentUnknown,
        "cancel": IntentUnknown,
        "refund": ProviderRefused,
        "refunds": IntentUnknown,
        "statement": Unavailable,
    }
    for name, (call, _) in CALLS.items():
        lied.says('{"slug":"intent-not-found"}', 404)
        with pytest.raises(by_no_intent[name]):
            await call(lied.adapter)
        for status in (400, 402, 409, 422):
            lied.says('{"slug":"no"}', status)
            with pytest.raises(ProviderRefused if name in ("create", "refund") else Unavailable):
                await call(lied.adapter)
        for status, body in ((404, "<html>"), (404, '{"slug":"other"}'), (401, ""), (403, "{}"), (302, ""), (405, "")):
            lied.says(body, status)
            with pytest.raises(Unavailable):
                await call(lied.adapter)


async def test_only_outages_are_tried_again_and_only_so_often(lied: Lied):
    call, truth = CALLS["get"]
    for status, tries in ((200, 1), (422, 1), (404, 1), (429, TRIES_MAX), (500, TRIES_MAX), (503, TRIES_MAX)):
        lied.says(truth, status)
        lied.liar.requests.clear()
        await asyncio.gather(call(lied.adapter), return_exceptions=True)
        assert lied.liar.requests == [b"GET /v1/intents/1 HTTP/1.1"] * tries


async def test_an_endless_answer_is_cut_off(lied: Lied):
    call, _ = CALLS["get"]
    lied.says(b" " * (ANSWER_BYTES_MAX + 1))
    with pytest.raises(Unavailable, match="too long"):
        await call(lied.adapter)


async def test_all_tries_share_one_deadline(lied: Lied):
    adapter = PaymentSimulator(lied.url, "http://shop/webhooks", timeout_s=0.4)
    lied.says("", 503)
    lied.liar.delay_s = 0.3
    begun = time.monotonic()
    with pytest.raises(Unavailable):
        await adapter.get_intent(PENDING)
    assert time.monotonic() - begun < 1.2
    await adapter.close()


async def test_connections_are_bounded(lied: Lied):
    call, truth = CALLS["get"]
    lied.says(truth)
    lied.liar.delay_s = 0.05
    await asyncio.gather(*(call(lied.adapter) for _ in range(3 * CONNECTIONS_MAX)))
    assert lied.liar.most_at_once <= CONNECTIONS_MAX


async def test_it_can_be_closed_twice_and_used_again(lied: Lied):
    call, truth = CALLS["get"]
    lied.says(truth)
    await lied.adapter.close()
    await call(lied.adapter)
    await lied.adapter.close()
    await lied.adapter.close()
    await call(lied.adapter)
