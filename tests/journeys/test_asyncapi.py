"""What the AsyncAPI document says is what comes: over sockets, over event streams, and in every outbox."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema_rs
import pytest
from websockets.sync.client import ClientConnection, connect

from doorbuster.edge.asyncapi import declared_events
from journeys import things
from journeys.api_shop import ApiShop, api_shop, eventually

SOURCES = ("accounts", "catalog", "flash_sale", "orders", "payments", "support", "notifications", "inventory")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiShop]:
    with api_shop(tmp_path_factory.mktemp("asyncapi"), with_payments=True) as shop:
        yield shop


@pytest.fixture(scope="module")
def document(shop: ApiShop) -> Any:
    return shop.get("/asyncapi.json")


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def at(document: Any, reference: str) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        document = document[name]
    return document


def fits(document: Any, operation: str, told: Any) -> str:
    """The one message of the operation that looks like this."""
    found = [
        name
        for each in document["operations"][operation]["messages"]
        for name in [each["$ref"].rpartition("/")[2]]
        if jsonschema_rs.is_valid(
            {**document["components"]["messages"][name]["payload"], "components": document["components"]}, told
        )
    ]
    assert len(found) == 1, (operation, told, found)
    return found[0]


# --- the document ---------------------------------------------------------------------------------------------------


def test_every_reference_leads_somewhere_and_every_channel_is_used(document: Any) -> None:
    assert document["asyncapi"] == "3.0.0"
    found = set(references(document))
    assert len(found) > 50
    for reference in found:
        assert at(document, reference), reference
    used = {operation["channel"]["$ref"].removeprefix("#/channels/") for operation in document["operations"].values()}
    assert used == set(document["channels"])
    for name, schema in document["components"]["schemas"].items():
        assert jsonschema_rs.meta.is_valid({**schema, "components": document["components"]}), name


def test_every_socket_every_stream_and_every_event_is_in_it(shop: ApiShop, document: Any) -> None:
    paths = shop.get("/openapi.json")["paths"]
    addresses = {channel["address"] for channel in document["channels"].values()}
    sockets = {path for path, item in paths.items() if "426" in json.dumps(item) and "get" in item}
    streams = {path for path, item in paths.items() if "text/event-stream" in json.dumps(item)}
    assert len(sockets) >= 3 <= len(streams)
    assert sockets | streams <= addresses
    told = set(document["components"]["messages"])
    assert {kind.__name__ for kind in declared_events()} <= told
    assert len(declared_events()) >= 29


def test_the_page_shows_it(shop: ApiShop, document: Any) -> None:
    page = shop.ask("GET", "/docs").text
    for channel in document["channels"].values():
        assert channel["address"] in page
    assert "ClaimAccepted" in page


# --- and what comes ---------------------------------------------------------------------------------------------


def socket_to(shop: ApiShop, path: str, who: str) -> ClientConnection:
    url = shop.base_url.replace("http", "ws", 1)
    return connect(f"{url}{path}", additional_headers=shop.people[who].headers, proxy=None)


def test_a_chat_says_what_the_document_says(shop: ApiShop, document: Any) -> None:
    conversation = things.a_conversation(shop, "owner")
    said: list[str] = []
    with socket_to(shop, "/v1/support/live", "owner") as socket:
        for message in (
            {"type": "resume", "after": {conversation: 0}},
            {"type": "send", "conversation": conversation, "client_id": "c1", "text": "你好"},
            {"type": "read", "conversation": conversation, "number": 1},
            {"type": "send", "conversation": "1", "client_id": "c2", "text": "to nobody"},
        ):
            assert fits(document, "support.live.receive", message)
            socket.send(json.dumps(message))
        while not {"Ready", "Resumed", "Ack", "MessageTold", "ConversationTold", "Error"} <= set(said):
            said.append(fits(document, "support.live.send", json.loads(socket.recv(timeout=20))))
    assert said[0] == "Ready"


def test_notifications_come_as_the_document_says_by_socket_and_by_stream(shop: ApiShop, document: Any) -> None:
    shop.pay(shop.payment(shop.order("owner")))
    with socket_to(shop, "/v1/me/notifications/live", "owner") as socket:
        said = [fits(document, "me.notifications.live.send", json.loads(socket.recv(timeout=20))) for _ in range(2)]
    assert said == ["Ready", "NotificationItemItem"]
    headers = shop.people["owner"].headers
    with httpx.stream("GET", f"{shop.base_url}/v1/me/notifications/stream", headers=headers, timeout=20) as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data:"))
    assert fits(document, "me.notifications.stream.send", json.loads(data.removeprefix("data:"))) == "NotificationItem"


def test_every_event_of_every_outbox_is_one_of_those_described(shop: ApiShop, document: Any) -> None:
    things.a_conversation(shop, "other")
    shop.pay(shop.payment(shop.order("owner")))
    shop.settle()

    def outbox(source: str) -> list[Any]:
        with sqlite3.connect(f"file:{shop.folder / source}.sqlite?mode=ro", uri=True) as database:
            return [json.loads(payload) for (payload,) in database.execute("SELECT payload FROM outbox")]

    eventually(lambda: outbox("notifications"), "somebody is told")
    seen: set[str] = set()
    for source in SOURCES:
        for event in outbox(source):
            seen.add(fits(document, f"events.{source}.send", event))
    assert {"ClaimAccepted", "OrderPaid", "PaymentCaptured", "MessageSent", "Notified", "ProductPublished"} <= seen
