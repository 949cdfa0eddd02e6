"""The payment simulator as a provider: intents, checkout, refunds and the statement, over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess
from doorbuster.lab.payment_simulator.webhook_receiver import WebhookReceiver

PLAIN = False  # only http:// here; loading certificates for each client would cost more than the test


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    data: Path = tmp_path_factory.mktemp("simulator") / "simulator.sqlite"
    with SimulatorProcess(data, secrets=["a secret of the tests"]) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as listening:
        yield listening


@pytest.fixture
async def shop(
    simulator: SimulatorProcess, receiver: WebhookReceiver, request: pytest.FixtureRequest
) -> AsyncIterator[Shop]:
    async with httpx.AsyncClient(base_url=simulator.base_url, timeout=10, verify=PLAIN) as client:
        yield Shop(client, receiver.url, prefix=re.sub(r"\W", "-", request.node.name)[-40:])


class Shop:
    """What a shop's payment adapter would do; payment ids are unique per test."""

    def __init__(self, client: httpx.AsyncClient, webhook_url: str, prefix: str) -> None:
        self.client, self.webhook_url, self.prefix = client, webhook_url, prefix

    def id(self, number: int = 1) -> str:
        return f"{self.prefix}-{number}"

    async def ask(self, number: int = 1, amount: int = 1990, currency: str = "CNY") -> httpx.Response:
        body = {
            "id": self.id(number),
            "order_id": f"o{number}",
            "amount": amount,
            "currency": currency,
            "webhook_url": self.webhook_url,
        }
        return await self.client.post("/v1/intents", json=body)

    async def reference(self, number: int = 1) -> str:
        answer = await self.ask(number)
        assert answer.status_code == 201, answer.text
        return answer.json()["reference"]

    async def confirm(self, reference: str, outcome: str = "success") -> httpx.Response:
        return await self.client.post(f"/checkout/{reference}/confirm", json={"outcome": outcome})

    async def cancel(self, number: int = 1) -> httpx.Response:
        return await self.client.post(f"/v1/intents/{self.id(number)}/cancel")

    async def refund(self, refund_id: str, amount: int, currency: str = "CNY", number: int = 1) -> httpx.Response:
        body = {
            "id": f"{self.id(number)}-{refund_id}"[-64:],
            "payment_id": self.id(number),
            "amount": amount,
            "currency": currency,
        }
        return await self.client.post("/v1/refunds", json=body)

    async def intent(self, number: int = 1) -> dict[str, object]:
        answer = await self.client.get(f"/v1/intents/{self.id(number)}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def paid(self, number: int = 1) -> None:
        answer = await self.confirm(await self.reference(number))
        assert answer.json()["status"] == "captured"

    async def statement(self, limit: int = 500) -> list[dict[str, object]]:
        items: list[dict[str, object]] = []
        cursor: str | None = None
        for _ in range(1000):
            query = {"limit": str(limit)} | ({"after": cursor} if cursor else {})
            page = (await self.client.get("/v1/statement", params=query)).json()
            items += page["items"]
            assert len(page["items"]) <= limit
            cursor = page["next_cursor"]
            if cursor is None:
                return [item for item in items if str(item["payment_id"]).startswith(self.prefix)]
        raise AssertionError("the statement does not end")


def slug(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["slug"]


async def test_the_same_intent_asked_again_is_the_same_intent(shop: Shop) -> None:
    first, *others = await asyncio.gather(*(shop.ask() for _ in range(20)))
    assert first.status_code == 201
    assert first.json()["status"] == "requires_payment"
    assert first.json()["checkout_url"].endswith(f"/checkout/{first.json()['reference']}")
    assert [(other.status_code, other.json()) for other in others] == [(201, first.json())] * 19


async def test_the_same_intent_id_with_other_values_is_a_conflict(shop: Shop) -> None:
    await shop.ask(amount=1990)
    assert slug(await shop.ask(amount=1991)) == (409, "idempotency-conflict")
    assert slug(await shop.ask(currency="USD")) == (409, "idempotency-conflict")
    assert (await shop.intent())["amount"] == 1990


async def test_an_intent_confirmed_by_twenty_browsers_is_captured_once(shop: Shop, receiver: WebhookReceiver) -> None:
    reference = await shop.reference()
    answers = await asyncio.gather(*(shop.confirm(reference) for _ in range(20)))
    assert {answer.json()["status"] for answer in answers} == {"captured"}
    assert [item["kind"] for item in await shop.statement()] == ["capture"]
    await receiver.wait_for(lambda received: len(received) == 1)
    assert (await shop.intent())["captured"] == 1990


async def test_a_cancelled_intent_is_never_captured(shop: Shop) -> None:
    reference = await shop.reference()
    assert (await shop.cancel()).json()["status"] == "cancelled"
    answer = await shop.confirm(reference)
    assert (answer.status_code, answer.json()["status"], answer.json()["captured"]) == (200, "cancelled", 0)
    assert await shop.statement() == []


async def test_cancelling_a_captured_intent_tells_that_it_is_captured(shop: Shop) -> None:
    await shop.paid()
    answer = await shop.cancel()
    assert (answer.status_code, answer.json()["status"], answer.json()["captured"]) == (200, "captured", 1990)


async def test_between_cancel_and_confirm_exactly_one_wins(shop: Shop) -> None:
    async def race(number: int) -> tuple[str, str]:
        reference = await shop.reference(number)
        moves = [shop.confirm(reference), shop.cancel(number)]
        answers = await asyncio.gather(*(moves if number % 2 else reversed(moves)))
        statuses = [answer.json()["status"] for answer in answers]
        return statuses[0], statuses[1]

    outcomes = await asyncio.gather(*(race(number) for number in range(60)))
    assert all(first == second for first, second in outcomes), "both sides are told the same winner"
    captured = {shop.id(number) for number, (status, _) in enumerate(outcomes) if status == "captured"}
    assert {item["payment_id"] for item in await shop.statement()} == captured


async def test_a_declined_try_can_be_paid_later(shop: Shop) -> None:
    reference = await shop.reference()
    assert (await shop.confirm(reference, "decline")).json()["status"] == "failed"
    assert (await shop.confirm(reference)).json()["status"] == "captured"
    assert (await shop.confirm(reference, "decline")).json()["status"] == "captured"


async def test_declines_of_one_intent_are_bounded(shop: Shop) -> None:
    reference = await shop.reference()
    for _ in range(50):
        assert (await shop.confirm(reference, "decline")).status_code == 200
    assert slug(await shop.confirm(reference, "decline")) == (409, "too-many-tries")


async def test_refunds_never_exceed_what_was_captured(shop: Shop) -> None:
    await shop.paid()
    answers = await asyncio.gather(*(shop.refund(f"r{number}", 300) for number in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 6 + [409] * 14
    assert {slug(answer)[1] for answer in answers if answer.status_code == 409} == {"refund-exceeds-captured"}
    intent = await shop.intent()
    assert (intent["status"], intent["captured"], intent["refunded"]) == ("captured", 1990, 1800)


async def test_refunding_the_rest_makes_the_intent_refunded(shop: Shop) -> None:
    await shop.paid()
    assert (await shop.refund("part", 990)).json()["status"] == "succeeded"
    assert (await shop.refund("rest", 1000)).status_code == 201
    assert (await shop.intent())["status"] == "refunded"
    assert slug(await shop.refund("more", 1)) == (409, "refund-exceeds-captured")
    movements = [(item["kind"], item["amount"]) for item in await shop.statement()]
    assert movements == [("capture", 1990), ("refund", 990), ("refund", 1000)]


async def test_the_same_refund_asked_again_is_paid_once(shop: Shop) -> None:
    await shop.paid()
    answers = await asyncio.gather(*(shop.refund("r", 990) for _ in range(10)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    assert (await shop.intent())["refunded"] == 990
    assert slug(await shop.refund("r", 991)) == (409, "idempotency-conflict")


async def test_a_refund_is_bound_to_its_payment(shop: Shop) -> None:
    assert slug(await shop.refund("r", 1)) == (404, "intent-not-found")
    reference = await shop.reference()
    assert slug(await shop.refund("r", 1)) == (409, "payment-not-captured")
    await shop.confirm(reference)
    assert slug(await shop.refund("r", 1, currency="USD")) == (422, "currency-mismatch")


@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_the_statement_is_complete_whatever_the_page(shop: Shop, limit: int) -> None:
    await asyncio.gather(*(shop.paid(number) for number in range(15)))
    await asyncio.gather(*(shop.refund("r", 100, number=number) for number in range(0, 15, 3)))
    items = await shop.statement(limit)
    captured = [item["payment_id"] for item in items if item["kind"] == "capture"]
    assert sorted(map(str, captured)) == sorted(shop.id(number) for number in range(15))
    assert sum(item["kind"] == "refund" for item in items) == 5


async def test_the_statement_misses_nothing_while_payments_go_on(shop: Shop) -> None:
    paying = asyncio.gather(*(shop.paid(number) for number in range(40)))
    seen_while_paying = await shop.statement(limit=3)
    await paying
    whole = await shop.statement(limit=3)
    assert whole[: len(seen_while_paying)] == seen_while_paying, "an order once shown does not change"
    assert len({item["payment_id"] for item in whole}) == len(whole) == 40


async def test_a_person_can_pay_in_a_browser(shop: Shop) -> None:
    reference = await shop.reference()
    page = await shop.client.get(f"/checkout/{reference}")
    assert page.headers["content-type"].startswith("text/html")
    assert "19.90 CNY" in page.text
    assert f'action="/checkout/{reference}/confirm"' in page.text
    sent = await shop.client.post(f"/checkout/{reference}/confirm", data={"outcome": "success"})
    assert (sent.status_code, sent.headers["location"]) == (303, f"/checkout/{reference}")
    after = await shop.client.get(f"/checkout/{reference}")
    assert "Paid. Thank you." in after.text
    assert "<form" not in after.text


async def test_json_sent_as_curl_sends_it_is_understood(shop: Shop) -> None:
    reference = await shop.reference()
    headers = {"content-type": "application/x-www-form-urlencoded"}
    path = f"/checkout/{reference}/confirm"
    answer = await shop.client.post(path, content=b'{"outcome": "success"}', headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "captured")
