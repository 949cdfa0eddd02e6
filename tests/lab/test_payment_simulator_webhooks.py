"""The payment simulator's webhooks: signed, retried, and misbehaving exactly as asked."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import msgspec
import pytest

from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.payment_simulator.webhook_receiver import Received, WebhookReceiver

PLAIN = False  # only http:// here; loading certificates for each client would cost more than the test

SECRETS = ("the old secret", "the new secret")

Start = Callable[..., SimulatorProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[SimulatorProcess] = []

    def start_one(**options: object) -> SimulatorProcess:
        data = tmp_path / f"simulator{len(started)}.sqlite"
        started.append(SimulatorProcess(data, **({"secrets": SECRETS} | options)))
        return started[-1].start()

    yield start_one
    for simulator in started:
        simulator.kill()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as listening:
        yield listening


class Shop:
    """Creates, pays and refunds at one simulator."""

    def __init__(self, simulator: SimulatorProcess, receiver: WebhookReceiver) -> None:
        self.client = httpx.AsyncClient(base_url=simulator.base_url, timeout=10, verify=PLAIN)
        self.receiver = receiver
        self.references: dict[str, str] = {}

    async def confirm(self, payment_id: str, outcome: str = "success") -> None:
        if payment_id not in self.references:
            answer = await self.client.post("/v1/intents", json=intent(payment_id, self.receiver.url))
            self.references[payment_id] = answer.json()["reference"]
        path = f"/checkout/{self.references[payment_id]}/confirm"
        assert (await self.client.post(path, json={"outcome": outcome})).status_code == 200

    async def refund(self, refund_id: str, payment_id: str, amount: int) -> None:
        body = {"id": refund_id, "payment_id": payment_id, "amount": amount, "currency": "CNY"}
        assert (await self.client.post("/v1/refunds", json=body)).status_code == 201

    async def stats(self) -> dict[str, dict[str, dict[str, int]]]:
        return (await self.client.get("/control/stats")).json()

    async def wait_for_deliveries(self, kind: str, outcome: str, number: int) -> None:
        async with asyncio.timeout(10):
            while (await self.stats())["deliveries"][kind].get(outcome, 0) < number:
                await asyncio.sleep(0.01)


def intent(payment_id: str, webhook_url: str) -> dict[str, object]:
    return {
        "id": payment_id,
        "order_id": f"order-{payment_id}",
        "amount": 1990,
        "currency": "CNY",
        "webhook_url": webhook_url,
    }


def verifies(webhook: Received, secret: str) -> bool:
    """What the shop has to check, written down a second time."""
    fields = [part.partition("=")[::2] for part in webhook.signature.split(",")]
    (at,) = (value for name, value in fields if name == "t")
    if abs(time.time() - int(at)) > 60:
        return False
    expected = hmac.new(secret.encode(), at.encode() + b"." + webhook.body, hashlib.sha256).hexdigest()
    return any(hmac.compare_digest(expected, value) for name, value in fields if name == "v1")


def types(received: list[Received]) -> list[str]:
    return [webhook.event.type for webhook in received]


async def test_a_capture_is_told_in_the_documented_shape_and_signed(start: Start, receiver: WebhookReceiver) -> None:
    shop = Shop(start(), receiver)
    await shop.confirm("41")
    await receiver.wait_for(lambda received: len(received) == 1)
    (webhook,) = receiver.received
    body = msgspec.json.decode(webhook.body)
    assert body.pop("id").startswith("evt_")
    assert abs(body.pop("created") / 1000 - time.time()) < 60
    assert body == {
        "type": "payment.captured",
        "data": {
            "payment_id": "41",
            "order_id": "order-41",
            "reference": shop.references["41"],
            "amount": 1990,
            "currency": "CNY",
            "refund_id": None,
        },
    }
    assert webhook.signature.count("v1=") == 2
    assert all(verifies(webhook, secret) for secret in SECRETS), "both secrets sign while they rotate"
    assert not verifies(webhook, "another secret")


async def test_after_the_rotation_only_the_new_secret_signs(start: Start, receiver: WebhookReceiver) -> None:
    simulator = start()
    simulator.restart(secrets=SECRETS[1:])
    await Shop(simulator, receiver).confirm("1")
    await receiver.wait_for(lambda received: len(received) == 1)
    assert [verifies(receiver.received[0], secret) for secret in SECRETS] == [False, True]


async def test_without_misbehaviour_each_event_comes_once_and_in_order(start: Start, receiver: WebhookReceiver) -> None:
    receiver.delay_s = 0.05
    shop = Shop(start(), receiver)
    for number in range(10):
        await shop.confirm(str(number), "decline")
        await shop.confirm(str(number))
        await shop.refund(f"r{number}", str(number), 990)
    await shop.wait_for_deliveries("genuine", "delivered", 30)
    for number in range(10):
        mine = [webhook for webhook in receiver.received if webhook.event.data.payment_id == str(number)]
        assert types(mine) == ["payment.failed", "payment.captured", "refund.succeeded"]
        gaps_s = [after.at_s - before.at_s for before, after in pairwise(mine)]
        assert min(gaps_s) >= 0.05, "the next one waits for the answer to the one before"
        assert (mine[2].event.data.refund_id, mine[2].event.data.amount) == (f"r{number}", 990)
    assert len(receiver.received) == 30
    assert len({webhook.event.id for webhook in receiver.received}) == 30


async def test_twice_delivers_the_same_event_twice(start: Start, receiver: WebhookReceiver) -> None:
    shop = Shop(start(misbehaviour={"twice": True}), receiver)
    await asyncio.gather(*(shop.confirm(str(number)) for number in range(20)))
    await shop.wait_for_deliveries("duplicate", "delivered", 20)
    seen = Counter(webhook.event.id for webhook in receiver.received)
    assert sorted(seen.values()) == [2] * 20
    assert all(verifies(webhook, SECRETS[0]) for webhook in receiver.received)


async def test_late_delivers_within_its_range(start: Start, receiver: WebhookReceiver) -> None:
    shop = Shop(start(misbehaviour={"late": True, "late_ms": [300, 400]}), receiver)
    begun_s = time.monotonic()
    await shop.confirm("1")
    await receiver.wait_for(lambda received: len(received) == 1)
    assert receiver.received[0].at_s - begun_s >= 0.3
    assert (await shop.stats())["misbehaved"] == {"late": 1}


async def test_out_of_order_delivers_a_decline_after_the_later_capture(start: Start, receiver: WebhookReceiver) -> None:
    settings = {"out_of_order": True, "out_of_order_hold_ms": 60_000}
    shop = Shop(start(misbehaviour=settings), receiver)
    await shop.confirm("1", "decline")
    await shop.confirm("1")
    await receiver.wait_for(lambda received: len(received) == 2)
    assert types(receiver.received) == ["payment.captured", "payment.failed"]


async def test_out_of_order_delivers_a_capture_after_its_refund(start: Start, receiver: WebhookReceiver) -> None:
    settings = {"out_of_order": True, "out_of_order_hold_ms": 60_000}
    shop = Shop(start(misbehaviour=settings), receiver)
    await shop.confirm("1")
    await shop.refund("r", "1", 1990)
    await receiver.wait_for(lambda received: len(received) == 2)
    assert types(receiver.received) == ["refund.succeeded", "payment.captured"]


async def test_an_event_held_back_comes_after_its_time_when_nothing_follows(
    start: Start, receiver: WebhookReceiver
) -> None:
    shop = Shop(start(misbehaviour={"out_of_order": True, "out_of_order_hold_ms": 200}), receiver)
    await shop.confirm("1")
    await receiver.wait_for(lambda received: len(received) == 1)


async def test_forged_webhooks_come_on_top_and_never_verify(start: Start, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda webhook: 200 if verifies(webhook, SECRETS[0]) else 400
    shop = Shop(start(misbehaviour={"forged": True}), receiver)
    await asyncio.gather(*(shop.confirm(str(number)) for number in range(40)))
    await shop.wait_for_deliveries("genuine", "delivered", 40)
    await shop.wait_for_deliveries("forged", "refused", 40)
    genuine = [webhook for webhook in receiver.received if verifies(webhook, SECRETS[0])]
    forged = [webhook for webhook in receiver.received if not verifies(webhook, SECRETS[0])]
    assert len(genuine) == len(forged) == 40
    assert not any(verifies(webhook, secret) for webhook in forged for secret in SECRETS)
    assert {(webhook.event.data.amount, webhook.event.data.currency) for webhook in genuine} == {(1990, "CNY")}
    claimed = {(webhook.event.data.amount, webhook.event.data.currency) for webhook in forged}
    assert claimed == {(1990, "CNY"), (1, "CNY"), (1990, "VND")}
    assert (await shop.stats())["deliveries"]["forged"] == {"refused": 40}


async def test_the_same_seed_misbehaves_in_the_same_way(start: Start, receiver: WebhookReceiver) -> None:
    async def doubled(seed: int) -> set[str]:
        receiver.received.clear()
        shop = Shop(start(seed=seed, misbehaviour={"twice": 0.5}), receiver)
        await asyncio.gather(*(shop.confirm(str(number)) for number in range(40)))
        number = (await shop.stats())["misbehaved"]["twice"]
        await shop.wait_for_deliveries("duplicate", "delivered", int(str(number)))
        seen = Counter(webhook.event.data.payment_id for webhook in receiver.received)
        return {payment_id for payment_id, times in seen.items() if times == 2}

    first, again, other = await doubled(1), await doubled(1), await doubled(2)
    assert first == again != other
    assert 8 <= len(first) <= 32


async def test_a_refused_webhook_is_tried_again_with_a_fresh_signature(start: Start, receiver: WebhookReceiver) -> None:
    answers = iter([500, 404, 302, 204])
    receiver.answer = lambda _: next(answers)
    shop = Shop(start(arguments=["--retry-base-ms", "20"]), receiver)
    await shop.confirm("1")
    await shop.wait_for_deliveries("genuine", "delivered", 1)
    assert len({webhook.body for webhook in receiver.received}) == 1
    assert len(receiver.received) == 4
    assert (await shop.stats())["deliveries"]["genuine"] == {"delivered": 1, "failed_tries": 3}


async def test_the_wait_between_tries_grows(start: Start, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda _: 500
    shop = Shop(start(arguments=["--retry-base-ms", "40", "--tries-max", "5"]), receiver)
    await shop.confirm("1")
    await receiver.wait_for(lambda received: len(received) == 5)
    at_s = [webhook.at_s for webhook in receiver.received]
    least_s = [0.020, 0.040, 0.080, 0.160]  # half of 40 ms doubled per try: the jitter takes at most half
    assert all(b - a >= least for a, b, least in zip(at_s, at_s[1:], least_s, strict=False))


async def test_after_the_last_try_a_webhook_is_abandoned(start: Start, receiver: WebhookReceiver) -> None:
    receiver.answer = lambda _: 500
    shop = Shop(start(arguments=["--retry-base-ms", "1", "--tries-max", "3"]), receiver)
    await shop.confirm("1")
    await shop.wait_for_deliveries("genuine", "abandoned", 1)
    assert len(receiver.received) == 3
    assert (await shop.stats())["deliveries_pending"] == 0


async def test_a_receiver_that_was_away_gets_everything_later(start: Start) -> None:
    async with WebhookReceiver() as away:
        port = int(away.url.split(":")[2].partition("/")[0])
    shop = Shop(start(arguments=["--retry-base-ms", "50", "--retry-cap-ms", "200"]), away)
    await asyncio.gather(*(shop.confirm(str(number)) for number in range(10)))
    await shop.wait_for_deliveries("genuine", "failed_tries", 10)
    async with WebhookReceiver(port=port) as back:
        await back.wait_for(lambda received: len({webhook.event.id for webhook in received}) == 10)


async def test_deliveries_at_once_are_bounded(start: Start) -> None:
    async with WebhookReceiver(delay_s=0.02) as slow:
        shop = Shop(start(arguments=["--deliveries-max", "4"]), slow)
        await asyncio.gather(*(shop.confirm(str(number)) for number in range(40)))
        await shop.wait_for_deliveries("genuine", "delivered", 40)
        assert slow.open_most == 4


async def test_a_receiver_that_does_not_answer_counts_as_failed(start: Start) -> None:
    async with WebhookReceiver(delay_s=30) as stuck:
        shop = Shop(start(arguments=["--webhook-timeout-ms", "100"]), stuck)
        await shop.confirm("1")
        await shop.wait_for_deliveries("genuine", "failed_tries", 1)
