"""Support over HTTP, behind the real door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contexts.support.support_shop import ANN, BEN, EVA, FRITZ, GUEST, ROOT, SupportShop
from doorbuster.kernel.principal import Principal
from live_server import LiveServer, live_server

MERCHANT = Principal(401, "merchant")


class Api:
    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        self._server = server
        self._client = client

    async def __call__(
        self, who: Principal | None, method: str, path: str, body: Any = None, key: str | None = None
    ) -> tuple[int, Any]:
        headers = {} if who is None else self._server.headers(who)
        if key is not None:
            headers["Idempotency-Key"] = key
        answer = await self._client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()


@pytest.fixture
async def api(shop: SupportShop) -> AsyncIterator[Api]:
    async with live_server([shop.context.faces()]) as server, httpx.AsyncClient(base_url=server.http) as client:
        yield Api(server, client)


async def test_from_the_first_word_to_the_last(shop: SupportShop, api: Api):
    status, opened = await api(GUEST, "POST", "/v1/conversations", {"text": "Hello", "order_id": "12"}, "k1")
    assert (status, opened["status"], opened["unread"], opened["order_id"]) == (201, "open", 0, "12")
    path = f"/v1/conversations/{opened['id']}"
    assert (await api(GUEST, "POST", "/v1/conversations", {"text": "Hello", "order_id": "12"}, "k1"))[1] == opened
    assert [each["id"] for each in (await api(EVA, "GET", "/v1/support/queue"))[1]["items"]] == [opened["id"]]
    assert (await api(EVA, "POST", "/v1/support/queue/next"))[1]["agent_id"] == str(EVA.account_id)
    status, sent = await api(EVA, "POST", f"{path}/messages", {"text": "Good morning"}, "k1")
    assert (status, sent["number"], sent["side"]) == (201, 2, "support")
    assert (await api(EVA, "POST", f"{path}/messages", {"text": "Good morning"}, "k1"))[1] == sent
    assert (await api(GUEST, "GET", path))[1]["unread"] == 1
    assert (await api(GUEST, "POST", f"{path}/read", {"number": 2}))[1]["unread"] == 0
    page = (await api(GUEST, "GET", f"{path}/messages?after=1"))[1]
    assert ([each["text"] for each in page["items"]], page["more"]) == (["Good morning"], False)
    assert (await api(FRITZ, "GET", "/v1/support/queue"))[0] == 200
    assert (await api(EVA, "POST", f"{path}/transfer", {"to": str(FRITZ.account_id)}))[1]["agent_id"] == "202"
    assert (await api(FRITZ, "POST", "/v1/support/away"))[1] == {"released": 1}
    assert (await api(EVA, "POST", f"{path}/take"))[0] == 200
    assert (await api(GUEST, "POST", f"{path}/close"))[1]["status"] == "closed"
    assert [number for number, _, _ in await shop.texts(int(opened["id"]))] == [1, 2]
    assert await shop.broken() == []


async def test_who_may_call_what(shop: SupportShop, api: Api):
    one = await shop.open_with(ANN, EVA)
    before = await shop.everything()
    path = f"/v1/conversations/{one}"
    calls = [
        ("POST", "/v1/conversations", {"text": "x"}, {"support", "admin"}),
        ("GET", "/v1/conversations", None, {"admin"}),
        ("POST", f"{path}/messages", {"text": "x"}, {"admin"}),
        ("POST", f"{path}/read", {"number": 1}, {"admin"}),
        ("POST", f"{path}/close", None, {"admin"}),
        ("POST", f"{path}/take", None, {"guest", "customer", "merchant", "admin"}),
        ("POST", f"{path}/transfer", {"to": None}, {"guest", "customer", "merchant"}),
        ("GET", "/v1/support/queue", None, {"guest", "customer", "merchant"}),
        ("POST", "/v1/support/queue/next", None, {"guest", "customer", "merchant", "admin"}),
        ("POST", "/v1/support/away", None, {"guest", "customer", "merchant", "admin"}),
    ]
    for method, address, body, refused in calls:
        assert (await api(None, method, address, body, "k"))[0] == 401
        for who in (GUEST, BEN, MERCHANT, FRITZ, ROOT):
            if who.role in refused:
                assert (await api(who, method, address, body, "k"))[0] == 403, (who, address)
    for who in (GUEST, BEN, MERCHANT, FRITZ):
        for method, address, body in (
            ("GET", path, None),
            ("GET", f"{path}/messages", None),
            ("POST", f"{path}/messages", {"text": "x"}),
            ("POST", f"{path}/read", {"number": 1}),
            ("POST", f"{path}/close", None),
        ):
            assert (await api(who, method, address, body, "k"))[1]["slug"] == "conversation-not-found"
    assert await shop.everything() == before


WRONG: list[tuple[str, Any]] = [
    ("", {}),
    ("", {"text": ""}),
    ("", {"text": "x" * 4001}),
    ("", {"text": "\x00"}),
    ("", {"text": " "}),
    ("", {"text": "x", "subject": "\n"}),
    ("", {"text": "x", "subject": "x" * 121}),
    ("", {"text": "x", "order_id": "9" * 20}),
    ("", {"text": "x", "order_id": "9" * 19}),
    ("", {"text": "x", "agent_id": "5"}),
    ("/messages", {"text": 5}),
    ("/messages", {"text": "\u202e"}),
    ("/read", {"number": -1}),
    ("/read", {"number": 2**63}),
    ("/read", {"number": 5}),
    ("/transfer", {}),
]


async def test_wrong_input_is_refused_and_changes_nothing(shop: SupportShop, api: Api):
    one = await shop.open_with(ANN, EVA)
    before = await shop.everything()
    for suffix, body in WRONG:
        path = f"/v1/conversations/{one}{suffix}" if suffix else "/v1/conversations"
        status, _ = await api(EVA if suffix == "/transfer" else ANN, "POST", path, body, "k")
        assert status == 400, (path, body)
    for query in ("after=-1", "after=x", "before=99999999999999999999", "after=1&before=2", "limit=0", "limit=101"):
        assert (await api(ANN, "GET", f"/v1/conversations/{one}/messages?{query}"))[0] == 400, query
    for conversation_id in ("0", "x", "9" * 19, "9" * 30, "%00"):
        assert (await api(ANN, "GET", f"/v1/conversations/{conversation_id}"))[0] in (400, 404)
    assert (await api(ANN, "POST", "/v1/conversations", {"text": "x"}))[1]["slug"] == "idempotency-key-missing"
    assert await shop.everything() == before
