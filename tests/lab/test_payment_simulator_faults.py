"""The payment simulator acts and drops the reply, answers late, is down, is killed: the money stays right."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from doorbuster.lab.payment_simulator.options import SECRET_ENV_DEFAULT, parse_options
from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess, SimulatorStartError
from doorbuster.lab.payment_simulator.webhook_receiver import WebhookReceiver

PLAIN = False  # only http:// here; loading certificates for each client would cost more than the test

TRIES_MAX = 20

Start = Callable[..., SimulatorProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[SimulatorProcess] = []

    def start_one(**options: object) -> SimulatorProcess:
        data = tmp_path / f"simulator{len(started)}.sqlite"
        started.append(SimulatorProcess(data, **({"secrets": ["a secret of the tests"]} | options)))
        return started[-1].start()

    yield start_one
    for simulator in started:
        simulator.kill()


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as listening:
        yield listening


def connect(simulator: SimulatorProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=simulator.base_url, timeout=10, verify=PLAIN)


def intent(payment_id: str, receiver: WebhookReceiver) -> dict[str, object]:
    return {
        "id": payment_id,
        "order_id": "o",
        "amount": 1990,
        "currency": "CNY",
        "webhook_url": receiver.url,
    }


async def insist(client: httpx.AsyncClient, path: str, body: dict[str, object]) -> tuple[httpx.Response, int]:
    """Post until there is an answer; returns it and how many replies were lost before."""
    for lost in range(TRIES_MAX):
        try:
            return await client.post(path, json=body), lost
        except httpx.RemoteProtocolError:
            continue  # the line went dead: nobody knows what happened, so ask again
    raise AssertionError("no answer")


async def pay(client: httpx.AsyncClient, receiver: WebhookReceiver, payment_id: str) -> str:
    created = await client.post("/v1/intents", json=intent(payment_id, receiver))
    reference = created.json()["reference"]
    answer = await client.post(f"/checkout/{reference}/confirm", json={"outcome": "success"})
    assert answer.json()["status"] == "captured"
    return payment_id


async def statement(client: httpx.AsyncClient) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    query: dict[str, str] = {"limit": "500"}
    for _ in range(100):
        page = (await client.get("/v1/statement", params=query)).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["after"] = page["next_cursor"]
    raise AssertionError("the statement does not end")


async def test_a_request_whose_reply_is_dropped_acts_exactly_once(start: Start, receiver: WebhookReceiver) -> None:
    async with connect(start(misbehaviour={"drop_reply": True, "drop_reply_times": 3})) as client:
        created, lost_creating = await insist(client, "/v1/intents", intent("1", receiver))
        path = f"/checkout/{created.json()['reference']}/confirm"
        confirmed, lost_confirming = await insist(client, path, {"outcome": "success"})
        refund: dict[str, object] = {"id": "r", "payment_id": "1", "amount": 990, "currency": "CNY"}
        refunded, lost_refunding = await insist(client, "/v1/refunds", refund)
        assert (lost_creating, lost_confirming, lost_refunding) == (3, 3, 3)
        assert [created.status_code, confirmed.status_code, refunded.status_code] == [201, 200, 201]
        assert confirmed.json()["captured"] == 1990
        assert [item["kind"] for item in await statement(client)] == ["capture", "refund"]
        stats = (await client.get("/control/stats")).json()
        assert (stats["intents"], stats["replies"]["dropped"]) == (1, 9)
    await receiver.wait_for(lambda received: len(received) == 2)


async def test_replies_dropped_at_random_never_pay_twice(start: Start, receiver: WebhookReceiver) -> None:
    async with connect(start(seed=3, misbehaviour={"drop_reply": 0.4, "drop_reply_times": 10})) as client:

        async def buy(number: int) -> int:
            created, lost = await insist(client, "/v1/intents", intent(str(number), receiver))
            path = f"/checkout/{created.json()['reference']}/confirm"
            confirmed, lost_more = await insist(client, path, {"outcome": "success"})
            assert confirmed.json()["status"] == "captured"
            return lost + lost_more

        lost = sum(await asyncio.gather(*(buy(number) for number in range(100))))
        assert lost > 20
        captured = sorted(int(str(item["payment_id"])) for item in await statement(client))
        assert captured == list(range(100))
        assert (await client.get("/control/stats")).json()["replies"]["dropped"] == lost


async def test_a_slow_provider_answers_late(start: Start, receiver: WebhookReceiver) -> None:
    async with connect(start(misbehaviour={"slow": True, "slow_ms": [200, 250]})) as client:
        begun_s = time.monotonic()
        answer = await client.post("/v1/intents", json=intent("1", receiver))
        assert answer.status_code == 201
        assert time.monotonic() - begun_s >= 0.2


async def test_a_provider_that_is_down_does_nothing_until_it_is_back(start: Start, receiver: WebhookReceiver) -> None:
    async with connect(start()) as client:
        await client.put("/control/misbehaviour", json={"down": True})
        refused = await client.post("/v1/intents", json=intent("1", receiver))
        assert (refused.status_code, refused.json()["slug"]) == (503, "simulated-outage")
        assert refused.headers["retry-after"] == "1"
        await client.put("/control/misbehaviour", json={"down": True, "down_as": "close"})
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v1/intents", json=intent("1", receiver))
        await client.put("/control/misbehaviour", json={})
        assert (await client.get("/v1/intents/1")).status_code == 404
        stats = (await client.get("/control/stats")).json()
        assert (stats["intents"], stats["replies"]["down"]) == (0, 2)


async def test_misbehaviour_set_at_run_time_is_shown_whole(start: Start) -> None:
    async with connect(start(misbehaviour={"forged": 0.25})) as client:
        assert (await client.get("/control/misbehaviour")).json()["forged"] == 0.25
        changed = await client.put("/control/misbehaviour", json={"late": 0.5, "late_ms": [1, 2]})
        settings = (await client.get("/control/misbehaviour")).json()
        assert changed.json() == settings
        assert (settings["late"], settings["late_ms"], settings["forged"]) == (0.5, [1, 2], False)


async def test_control_is_off_where_others_can_reach_it(start: Start) -> None:
    async with connect(start(arguments=["--host", "0.0.0.0"])) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/control/stats")).status_code == 404
        assert (await client.put("/control/misbehaviour", json={})).status_code == 404


async def test_a_kill_amid_payments_loses_no_capture_and_no_webhook(start: Start, receiver: WebhookReceiver) -> None:
    simulator = start(arguments=["--retry-base-ms", "20"])
    acknowledged: list[str] = []
    under_way = asyncio.Event()

    async def pay_until_the_crash(client: httpx.AsyncClient, buyer: int) -> None:
        for number in range(1000):
            paid = await pay(client, receiver, f"{buyer}-{number}")
            acknowledged.append(paid)
            if len(acknowledged) >= 100:
                under_way.set()

    async with connect(simulator) as client:
        buyers = [asyncio.create_task(pay_until_the_crash(client, buyer)) for buyer in range(10)]
        async with asyncio.timeout(10):
            await under_way.wait()
        simulator.kill()
        ends = await asyncio.gather(*buyers, return_exceptions=True)
        assert all(isinstance(end, httpx.TransportError) for end in ends)
    simulator.restart()
    async with connect(simulator) as client:
        captured = [str(item["payment_id"]) for item in await statement(client)]
        assert len(captured) == len(set(captured)), "nothing is captured twice"
        assert set(acknowledged) <= set(captured), "nothing acknowledged is lost"
        expected = set(captured)
        await receiver.wait_for(lambda received: expected <= {webhook.event.data.payment_id for webhook in received})
        told = {webhook.event.data.payment_id for webhook in receiver.received}
        assert told == expected, "no webhook tells of a capture that did not last"


async def test_webhooks_still_pending_at_a_kill_are_sent_after_the_restart(
    start: Start, receiver: WebhookReceiver
) -> None:
    simulator = start(misbehaviour={"late": True, "late_ms": [1500, 1500]})
    async with connect(simulator) as client:
        await asyncio.gather(*(pay(client, receiver, str(number)) for number in range(20)))
        base_url = simulator.base_url
    simulator.kill()
    assert receiver.received == []
    simulator.restart()
    assert simulator.base_url == base_url
    await receiver.wait_for(lambda received: len(received) == 20)
    assert len({webhook.event.id for webhook in receiver.received}) == 20


async def test_intents_refunds_and_cancellations_survive_a_kill(start: Start, receiver: WebhookReceiver) -> None:
    simulator = start()
    async with connect(simulator) as client:
        await pay(client, receiver, "paid")
        refund = {"id": "r", "payment_id": "paid", "amount": 990, "currency": "CNY"}
        await client.post("/v1/refunds", json=refund)
        created = await client.post("/v1/intents", json=intent("cancelled", receiver))
        await client.post("/v1/intents/cancelled/cancel")
    simulator.kill()
    simulator.restart()
    async with connect(simulator) as client:
        path = f"/checkout/{created.json()['reference']}/confirm"
        assert (await client.post(path, json={"outcome": "success"})).json()["status"] == "cancelled"
        assert (await client.post("/v1/refunds", json=refund)).status_code == 201
        paid = (await client.get("/v1/intents/paid")).json()
        assert (paid["captured"], paid["refunded"]) == (1990, 990)


def test_it_ends_gracefully_on_sigterm_and_sigint(start: Start) -> None:
    assert start().stop() == 0
    simulator = start()
    child = simulator._child
    assert child is not None
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 0


def test_it_ends_when_its_parents_pipe_closes(start: Start) -> None:
    child = start()._child
    assert child is not None
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(10) == 0


def test_a_second_simulator_on_the_same_data_is_refused(start: Start) -> None:
    first = start()
    second = SimulatorProcess(first.log.with_suffix(".sqlite"), secrets=["another"])
    with pytest.raises(SimulatorStartError, match="locked"):
        second.start()
    assert first.pid is not None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--misbehave", "late"], "not name=value"),
        (["--misbehave", "often=1"], "unknown field `often`"),
        (["--misbehave", "late=2"], "late"),
        (["--port", "70000"], "not within"),
        (["--secret-env", "DOORBUSTER_NO_SUCH_VARIABLE"], "1 to 4 secrets"),
    ],
)
def test_a_wrong_command_line_is_refused_with_its_reason(
    capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    environment = {SECRET_ENV_DEFAULT: "a secret of the tests"}
    with pytest.raises(SystemExit) as ended:
        parse_options(["--data", "never-made.sqlite", *arguments], environment)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert reason in printed.err
    assert "a secret of the tests" not in printed.err
