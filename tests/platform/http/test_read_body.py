"""Reading a body: whole, bounded, and given up when its sender is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from doorbuster.platform.http.problems import BodyTooLarge
from doorbuster.platform.http.raw import ClientGone, header, read_body, respond

LIMIT = 10
GONE = {"type": "http.disconnect"}


class Client:
    """Sends these messages, one at a time."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._messages = list(messages)
        self.asked = 0

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        assert self._messages, "asked for more than there is: a server would wait for ever"
        return self._messages.pop(0)


def pieces(*parts: bytes) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": part, "more_body": at < len(parts)} for at, part in enumerate(parts, start=1)
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"0123456789"],
        [b"01234", b"56789"],
        [b"", b"0123456789"],
        [b"0123456789", b""],
        [b"0", b"", b"", b"1"],
        [bytes([n]) for n in range(10)],
    ],
    ids=str,
)
async def test_a_body_up_to_the_limit_is_read_whole(parts: Sequence[bytes]):
    client = Client(*pieces(*parts))
    assert await read_body(client, LIMIT) == b"".join(parts)
    assert client.asked == len(parts)


async def test_a_message_may_leave_out_what_is_empty():
    assert await read_body(Client({"type": "http.request"}), LIMIT) == b""
    assert await read_body(Client({"type": "http.request", "more_body": True}, *pieces(b"x")), LIMIT) == b"x"


@pytest.mark.parametrize(
    "parts",
    [[b"01234567890"], [b"0123456789", b"0"], [b"01234567890", b""], [b"0"] * 11],
    ids=str,
)
async def test_one_byte_more_is_too_large(parts: Sequence[bytes]):
    with pytest.raises(BodyTooLarge) as refused:
        await read_body(Client(*pieces(*parts)), LIMIT)
    assert refused.value.extra == {"limit_bytes": LIMIT}


async def test_what_is_too_large_is_not_read_to_its_end():
    client = Client(*pieces(*[b"01234"] * 1_000))
    with pytest.raises(BodyTooLarge):
        await read_body(client, LIMIT)
    assert client.asked == 3


@pytest.mark.parametrize("sent", [[], [b"01"], [b"01", b"23"], [b""]], ids=str)
async def test_a_client_who_goes_away_sent_nothing(sent: list[bytes]):
    messages = [{**message, "more_body": True} for message in pieces(*sent)]
    with pytest.raises(ClientGone):
        await read_body(Client(*messages, GONE), LIMIT)


async def test_an_answer_says_how_long_it_is():
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await respond(send, 201, [(b"content-type", b"application/json")], "茶".encode())
    start, body = sent
    assert (start["type"], start["status"]) == ("http.response.start", 201)
    assert dict(start["headers"]) == {b"content-type": b"application/json", b"content-length": b"3"}
    assert body == {"type": "http.response.body", "body": "茶".encode()}


def test_the_first_header_of_a_name_is_the_one():
    scope = {"headers": [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]}
    assert (header(scope, b"a"), header(scope, b"b"), header(scope, b"c")) == (b"1", b"2", None)
