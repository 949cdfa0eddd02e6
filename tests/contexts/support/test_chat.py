"""The socket for all of one's conversations, on a real server."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from contexts.support.support_shop import ANN, BEN, EVA, FRITZ, GUEST, ROOT, SupportShop
from doorbuster.contexts.support.http.live import PAGE, Chat
from doorbuster.contexts.support.model import TEXT_MAX, Conversation
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.live.socket import QUEUE_BYTES_MAX
from live_server import LiveServer, live_server, received

PATH = "/v1/support/live"


@pytest.fixture
async def server(shop: SupportShop) -> AsyncIterator[LiveServer]:
    async with live_server([shop.context.faces()]) as server:
        yield server
    assert list(shop.service.hub.topics) == [], "nobody waits when everybody is gone"


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def until(socket: ClientConnection, kind: str) -> tuple[Any, list[Any]]:
    """The next message of this type, and those before it."""
    before: list[Any] = []
    while (message := await received(socket))["type"] != kind:
        before.append(message)
    return message, before


async def resume(socket: ClientConnection, after: dict[int, int] | None = None) -> list[Any]:
    """What comes until everything up to now was sent."""
    await say(socket, type="resume", after={str(each): number for each, number in (after or {}).items()})
    return (await until(socket, "resumed"))[1]


def numbers(messages: list[Any]) -> list[int]:
    return [message["number"] for message in messages if message["type"] == "message"]


async def test_what_one_says_the_other_hears(shop: SupportShop, server: LiveServer):
    one = await shop.open_with(ANN, EVA)
    async with server.connect(PATH, ANN) as ann, server.connect(PATH, EVA) as eva:
        assert numbers(await resume(ann)) == [], "her own message she has read"
        (conversation, message) = [each for each in await resume(eva) if each["type"] != "ready"]
        assert (conversation["conversation"]["unread"], message["text"]) == (1, "Where is my tea?")
        await say(ann, type="send", conversation=str(one), client_id="m1", text="Hello? 茶")
        ack, _ = await until(ann, "ack")
        assert (ack["client_id"], ack["number"]) == ("m1", 2)
        heard, _ = await until(eva, "message")
        assert (heard["number"], heard["text"], heard["side"]) == (2, "Hello? 茶", "customer")
        await say(ann, type="send", conversation=str(one), client_id="m1", text="Hello? 茶")
        again, _ = await until(ann, "ack")
        assert again == ack
        await say(eva, type="read", conversation=str(one), number=2)
        while (told := (await until(ann, "conversation"))[0])["conversation"]["support_read"] < 2:
            pass
        assert told["conversation"]["id"] == str(one)
        await say(eva, type="typing", conversation=str(one))
        assert (await until(ann, "typing"))[0] == {"type": "typing", "conversation": str(one), "side": "support"}
    assert [text for _, _, text in await shop.texts(one)] == ["Where is my tea?", "Hello? 茶"]
    assert await shop.broken() == []


async def test_resuming_goes_on_exactly_behind_the_number(shop: SupportShop, server: LiveServer):
    one, other = await shop.open_with(ANN, EVA), await shop.open_with(ANN, FRITZ)
    for n in range(2, 2 * PAGE + 12):
        await shop.say(EVA, one, f"e{n}")
    await shop.say(FRITZ, other, "And here?")
    async with server.connect(PATH, ANN) as ann:
        told = await resume(ann, {one: 5})
        assert numbers([each for each in told if each.get("conversation") == str(one)]) == list(range(6, 2 * PAGE + 12))
        assert numbers([each for each in told if each.get("conversation") == str(other)]) == [2], "what is unread"
        assert numbers(await resume(ann, {one: 2 * PAGE + 10, other: 2})) == [2 * PAGE + 11], "and again, on one socket"


async def test_new_conversations_come_and_lost_ones_go(shop: SupportShop, server: LiveServer):
    await shop.desk.queue(FRITZ, None, 1)
    async with server.connect(PATH, EVA) as eva, server.connect(PATH, ANN) as ann:
        await resume(eva)
        await resume(ann)
        one = await shop.open_with(ANN, EVA)
        assert (await until(ann, "conversation"))[0]["conversation"]["id"] == str(one)
        assert (await until(eva, "message"))[0]["conversation"] == str(one)
        await shop.desk.transfer(EVA, one, FRITZ.account_id)
        assert (await until(eva, "left"))[0]["conversation"] == str(one)
        while (await until(ann, "conversation"))[0]["conversation"]["agent_id"] != str(FRITZ.account_id):
            pass
        await shop.say(ANN, one, "A secret")
        await shop.service.close(ANN, one)
        while (await until(ann, "conversation"))[0]["conversation"]["status"] != "closed":
            pass
        await say(eva, type="send", conversation=str(one), client_id="x", text="Hello")
        error, before = await until(eva, "error")
        assert (error["slug"], error["ref"]) == ("conversation-not-found", "x")
        assert before == [], "nothing of it was heard any more"


STRANGERS = {"another customer": BEN, "a guest": GUEST, "another agent": FRITZ}


@pytest.mark.parametrize("who", STRANGERS)
async def test_others_hear_nothing_and_change_nothing(shop: SupportShop, server: LiveServer, who: str):
    one = await shop.open_with(ANN, EVA)
    before = await shop.everything()
    async with server.connect(PATH, STRANGERS[who]) as stranger, server.connect(PATH, ANN) as ann:
        await resume(ann)
        assert await resume(stranger, {one: 0}) == [
            READY(STRANGERS[who], server),
            {"type": "left", "conversation": str(one)},
        ]
        await say(stranger, type="send", conversation=str(one), client_id="x", text="Hello")
        assert (await received(stranger))["slug"] == "conversation-not-found"
        await say(stranger, type="read", conversation=str(one), number=1)
        assert (await received(stranger))["slug"] == "conversation-not-found"
        await say(stranger, type="typing", conversation=str(one))
        await say(stranger, type="nonsense")
        assert (await received(stranger))["slug"] == "message-malformed"
        await say(ann, type="nonsense")
        assert (await received(ann))["slug"] == "message-malformed", "and nobody typed"
    assert await shop.everything() == before


def READY(who: Principal, server: LiveServer) -> Any:  # noqa: N802 - equals whatever "ready" says
    class AnyReady(dict[str, Any]):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, dict) and other["type"] == "ready" and other["account_id"] == str(who.account_id)

    return AnyReady()


WRONG = [
    "",
    "[]",
    "null",
    "{}",
    '{"type":1}',
    '{"type":"send"}',
    '{"type":"send","conversation":"1","client_id":"","text":"x"}',
    '{"type":"send","conversation":"1","client_id":"a","text":"x","more":1}',
    '{"type":"send","conversation":1,"client_id":"a","text":"x"}',
    '{"type":"send","conversation":"1","client_id":"a","text":"\\ud800"}',
    '{"type":"resume","after":{"x":1}}',
    '{"type":"resume","after":{"1":-1}}',
    '{"type":"resume","after":{"1":99999999999999999999}}',
    '{"type":"resume","after":' + json.dumps({str(n): 0 for n in range(201)}) + "}",
    '{"type":"read","conversation":"1","number":1e400}',
    "[" * 5000,
]
REFUSED = {
    '{"type":"send","conversation":"1","client_id":"a","text":"x"}': "conversation-not-found",
    '{"type":"send","conversation":"9999999999999999999","client_id":"a","text":"x"}': "invalid-id",
    '{"type":"send","conversation":"1","client_id":"ü","text":"x"}': "message-invalid",
    '{"type":"send","conversation":"1","client_id":"a","text":"\\u0000"}': "message-invalid",
    json.dumps(
        {"type": "send", "conversation": "1", "client_id": "a", "text": "x" * (TEXT_MAX + 1)}
    ): "message-invalid",
    '{"type":"read","conversation":"1","number":0}': "conversation-not-found",
}


async def test_wrong_messages_are_told_and_the_connection_goes_on(shop: SupportShop, server: LiveServer):
    before = await shop.everything()
    async with server.connect(PATH, ANN) as ann:
        assert (await received(ann))["type"] == "ready"
        for message, slug in [*((each, "message-malformed") for each in WRONG), *REFUSED.items()]:
            await ann.send(message)
            assert (await received(ann))["slug"] == slug, message
        await resume(ann)
    assert await shop.everything() == before


async def test_admins_and_strangers_are_refused_before_it_is_open(server: LiveServer):
    with pytest.raises(InvalidStatus) as refused:
        await server.connect(PATH, ROOT)
    assert refused.value.response.status_code == 403


async def test_typing_reaches_the_other_side_only_and_not_too_often(shop: SupportShop, server: LiveServer):
    one = await shop.open_with(ANN, EVA)
    async with server.connect(PATH, ANN) as ann, server.connect(PATH, ANN) as second, server.connect(PATH, EVA) as eva:
        for socket in (ann, second, eva):
            await resume(socket)
        for _ in range(5):
            await say(ann, type="typing", conversation=str(one))
        await say(ann, type="send", conversation=str(one), client_id="m", text="Done")
        _, to_eva = await until(eva, "message")
        _, to_second = await until(second, "message")
        assert [each["type"] for each in to_eva].count("typing") == 1
        assert [each["type"] for each in to_second].count("typing") == 0


async def test_catching_up_on_long_messages_is_paced_by_the_reader(shop: SupportShop, server: LiveServer):
    """More than the queue may hold, in one page: who reads everything is not a slow reader."""
    one = await shop.open_with(ANN, EVA)
    for n in range(60):
        await shop.say(EVA, one, f"{n:02}" + "茶" * (TEXT_MAX - 2))
    assert 60 * len(("茶" * TEXT_MAX).encode()) > QUEUE_BYTES_MAX
    async with server.connect(PATH, ANN, max_size=None) as ann:
        told = await resume(ann, {one: 1})
    assert numbers(told) == list(range(2, 62))


async def test_a_connection_that_ends_in_the_middle_of_its_catch_up_leaves_nothing_behind(
    shop: SupportShop, server: LiveServer, monkeypatch: pytest.MonkeyPatch
):
    """The read under way comes back in the very moment in which the connection is cleared away."""
    one = await shop.open_with(ANN, EVA)
    mine = await shop.service.followed(EVA, ())
    reading, cleared, forget = asyncio.Event(), asyncio.Event(), Chat._forget

    async def held(_principal: Principal, _known: Collection[int]) -> Mapping[int, Conversation]:
        reading.set()
        await cleared.wait()
        return mine

    def told(chat: Chat, conversation_id: int) -> None:
        forget(chat, conversation_id)
        cleared.set()

    monkeypatch.setattr(shop.service, "followed", held)
    monkeypatch.setattr(Chat, "_forget", told)
    async with server.connect(PATH, EVA) as eva:
        await say(eva, type="resume", after={str(one): 1})
        async with asyncio.timeout(20):
            await reading.wait()
        eva.transport.abort()
    async with asyncio.timeout(20):
        while server.live.places.open:
            await asyncio.sleep(0.01)
    gc.collect()
    assert [each for each in gc.get_objects() if isinstance(each, Chat)] == []
