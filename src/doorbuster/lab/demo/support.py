"""A customer asks for help over a connection that breaks; an agent answers; nothing is lost and nothing comes twice."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from msgspec import Struct

from doorbuster.lab.demo.people import Person
from doorbuster.lab.demo.sockets import Listener
from doorbuster.lab.demo.stage import Stage
from doorbuster.lab.demo.view import Teller

LIVE = "/v1/support/live"


class Chat(Struct, frozen=True):
    """`written`: messages that both sides have written; the others compare what each saw with what is kept."""

    written: int = 0
    kept: int = 0
    lost: int = 0
    twice: int = 0

    @property
    def ok(self) -> bool:
        return self.written == self.kept > 0 and not (self.lost or self.twice)


class _Side:
    """One of the two: their socket now, and every message that ever came over one."""

    def __init__(self, stage: Stage, person: Person, conversation: str) -> None:
        self._stage = stage
        self.person = person
        self._conversation = conversation
        self.socket: Listener | None = None
        self.seen: list[int] = []

    async def connect(self) -> None:
        """Goes on behind the last message that was seen."""
        self.socket = await Listener(self._stage.shop, self.person, LIVE).__aenter__()
        await self.open.say(type="resume", after={self._conversation: max(self.seen, default=0)})

    async def leave(self) -> None:
        if self.socket is not None:
            await self.socket.__aexit__(None, None, None)

    @property
    def open(self) -> Listener:
        assert self.socket is not None, "it is connected"
        return self.socket

    async def write(self, client_id: str, text: str) -> int:
        """Returns the message's number, once it is kept."""
        await self.post(client_id, text)
        passed: list[dict[str, Any]] = []
        ack = await self.open.until("ack", passed)
        self._note(passed)
        return int(ack["number"])

    async def post(self, client_id: str, text: str) -> None:
        await self.open.say(type="send", conversation=self._conversation, client_id=client_id, text=text)

    async def read_to(self, number: int) -> None:
        """Until the message with this number has come."""
        while max(self.seen, default=0) < number:
            self._note([await self.open.until("message")])

    def _note(self, messages: list[dict[str, Any]]) -> None:
        self.seen += [each["number"] for each in messages if each["type"] == "message"]


async def support(stage: Stage, customer: Person, hiring: Awaitable[Person], tell: Teller) -> Chat:
    """Raises ShopFailed."""
    opening = {"subject": "Tea", "text": "Which of your teas keeps me awake?"}
    conversation = (await customer.ask("POST", "/v1/conversations", opening))["id"]
    tell(f"{customer.name} asks: {opening['text']}")
    agent = await hiring
    taken = await agent.ask("POST", "/v1/support/queue/next")
    tell(f"{agent.name} takes the conversation that has waited longest")
    asking, answering = _Side(stage, customer, conversation), _Side(stage, agent, taken["id"])
    await asking.connect()
    await answering.connect()
    try:
        written = 1 + await _talk(asking, answering, tell)
    finally:
        await asking.leave()
        await answering.leave()
    await agent.ask("POST", f"/v1/conversations/{conversation}/close")
    kept = (await customer.ask("GET", f"/v1/conversations/{conversation}/messages?after=0"))["items"]
    _expect(stage, kept, customer, agent, conversation)
    numbers = {each["number"] for each in kept}
    sides = (asking.seen, answering.seen)
    lost = sum(len(numbers - set(seen)) for seen in sides)
    twice = sum(len(seen) - len(set(seen)) for seen in sides)
    tell(f"{len(kept)} messages were kept; both have seen each of them once, over three connections")
    return Chat(written, len(kept), lost, twice)


async def _talk(asking: _Side, answering: _Side, tell: Teller) -> int:
    """Returns how many messages were written."""
    first = await answering.write("a1", "The green one. Two cups, not three.")
    await asking.read_to(first)
    await asking.write("c2", "And which one lets me sleep?")
    await asking.post("c3", "I had three cups.")
    asking.open.cut()
    tell(f"{asking.person.name}'s connection breaks in the middle of a sentence; {answering.person.name} goes on")
    await answering.write("a2", "White tea, or none at all.")
    await answering.write("a3", "Three cups explain a lot.")
    await asking.connect()
    await asking.write("c3", "I had three cups.")
    tell(f"{asking.person.name} is back, gets what was missed, and sends again what was not acknowledged")
    last = await asking.write("c4", "Thank you. Good night.")
    await asking.read_to(last)
    await answering.read_to(last)
    return len(("a1", "c2", "c3", "a2", "a3", "c4"))


def _expect(stage: Stage, kept: list[dict[str, Any]], customer: Person, agent: Person, conversation: str) -> None:
    """Each side hears of the other's messages; of the first one nobody, for agents look at their queue."""
    for message in kept[1:]:
        other = agent if message["side"] == "customer" else customer
        stage.notices.expect(other, "support-message", conversation)
