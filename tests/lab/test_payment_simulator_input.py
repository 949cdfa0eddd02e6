"""The payment simulator refuses bad input with a problem, never with a 5xx or a trace."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from doorbuster.lab.payment_simulator.simulator_process import SimulatorProcess

PLAIN = False  # only http:// here; loading certificates for each client would cost more than the test

INTENT = {
    "id": "1",
    "order_id": "2",
    "amount": 1990,
    "currency": "CNY",
    "webhook_url": "http://127.0.0.1:1/hook",
}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    data: Path = tmp_path_factory.mktemp("simulator") / "simulator.sqlite"
    with SimulatorProcess(data, secrets=["a secret of the tests"]) as running:
        yield running
        assert running.log.read_text() == "", "nothing was worth a line on stderr"


@pytest.fixture
async def client(simulator: SimulatorProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=simulator.base_url, timeout=10, verify=PLAIN) as open_client:
        yield open_client


def assert_problem(answer: httpx.Response, status: int, slug: str) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["slug"], problem["type"], problem["status"]) == (slug, f"/problems/{slug}", status)
    assert {"title", "detail", "request_id"} <= problem.keys()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 10**13}, "amount"),
        ({"amount": 10**30}, "amount"),
        ({"amount": 19.9}, "amount"),
        ({"amount": "1990"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "cny"}, "currency"),
        ({"currency": "CNY\n"}, "currency"),
        ({"id": ""}, "id"),
        ({"id": "x" * 65}, "id"),
        ({"id": "../1"}, "id"),
        ({"id": 1}, "id"),
        ({"webhook_url": "file:///etc/passwd"}, "webhook_url"),
        ({"webhook_url": "http://"}, "webhook_url"),
        ({"webhook_url": "http://[::1"}, "webhook_url"),
        ({"webhook_url": "http://host:99999/"}, "webhook_url"),
        ({"webhook_url": "http://user:pass@host/"}, "webhook_url"),
        ({"webhook_url": "http://host/\r\nX-Injected: 1"}, "webhook_url"),
        ({"webhook_url": "http://" + "a" * 64 + "/"}, "webhook_url"),
        ({"webhook_url": "http://host/" + "a" * 2048}, "webhook_url"),
    ],
)
async def test_an_intent_out_of_bounds_is_refused(
    client: httpx.AsyncClient, changes: dict[str, object], named: str
) -> None:
    answer = await client.post("/v1/intents", json=INTENT | changes)
    assert_problem(answer, 422, "invalid-request")
    assert named in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"id":"\xff"}', b'{"id":"\\ud800"}', b"nul", b'{"x":' + b"[" * 30_000],
)
async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    assert_problem(await client.post("/v1/intents", content=body), 400, "malformed-request")


async def test_a_body_beyond_64_kib_is_refused(client: httpx.AsyncClient) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 8192

    assert_problem(await client.post("/v1/refunds", content=b" " * 65_537), 413, "body-too-large")
    assert_problem(await client.post("/v1/refunds", content=in_pieces()), 413, "body-too-large")


@pytest.mark.parametrize("limit", ["0", "501", "-1", "x", "", "1e2", "٣", "9" * 400])
async def test_a_limit_out_of_bounds_is_refused(client: httpx.AsyncClient, limit: str) -> None:
    answer = await client.get("/v1/statement", params={"limit": limit})
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("cursor", ["", "x", "1", "YWZ0ZXI6LTE=", "YWZ0ZXI6", "é", "A" * 5000])
async def test_a_made_up_cursor_is_refused(client: httpx.AsyncClient, cursor: str) -> None:
    assert_problem(await client.get("/v1/statement", params={"after": cursor}), 400, "invalid-cursor")


async def test_a_query_with_too_many_or_repeated_fields_is_refused(client: httpx.AsyncClient) -> None:
    many = "&".join(f"f{number}=1" for number in range(17))
    assert_problem(await client.get(f"/v1/statement?{many}"), 400, "malformed-request")
    assert_problem(await client.get("/v1/statement?limit=1&limit=2"), 422, "invalid-request")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/intents/", "/v1/intents/{}", "/v1/intents/a%2Fb", "//", "/é"])
async def test_an_unknown_address_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), 404, "not-found")


async def test_an_unknown_intent_is_not_found(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/v1/intents/unknown"), 404, "intent-not-found")
    assert_problem(await client.post("/v1/intents/unknown/cancel"), 404, "intent-not-found")
    assert_problem(await client.get("/checkout/unknown"), 404, "intent-not-found")
    answer = await client.post("/checkout/unknown/confirm", json={"outcome": "success"})
    assert_problem(answer, 404, "intent-not-found")


async def test_another_method_is_refused_with_the_allowed_ones(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/v1/intents")
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"", b"outcome=maybe", b"outcome=success&outcome=decline", b"\xff=1"])
async def test_a_form_without_a_choice_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/checkout/unknown/confirm", content=body, headers=headers)
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize(
    "settings",
    [
        {"late": 1.1},
        {"late": -0.1},
        {"late": "often"},
        {"unknown": True},
        {"late_ms": [9, 1]},
        {"down_as": "x"},
    ],
)
async def test_an_unknown_misbehaviour_is_refused_and_the_old_one_stays(
    client: httpx.AsyncClient, settings: dict[str, object]
) -> None:
    before = (await client.get("/control/misbehaviour")).json()
    assert_problem(await client.put("/control/misbehaviour", json=settings), 422, "invalid-request")
    assert (await client.get("/control/misbehaviour")).json() == before


async def test_five_hundred_mutated_requests_cause_no_5xx(client: httpx.AsyncClient) -> None:
    dice = random.Random(8)
    body = msgspec.json.encode(INTENT)
    paths = ["/v1/intents", "/v1/refunds", "/checkout/x/confirm", "/v1/intents/x/cancel"]
    for _ in range(500):
        mutated = bytearray(body)
        for _ in range(dice.randrange(1, 6)):
            mutated[dice.randrange(len(mutated))] = dice.randrange(256)
        answer = await client.post(dice.choice(paths), content=bytes(mutated))
        assert answer.status_code < 500, (bytes(mutated), answer.text)
