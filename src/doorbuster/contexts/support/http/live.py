"""Support over WebSocket: one socket for all conversations of a person.

Messages are read from the store behind the numbers the client has: what a connection loses, the next one brings. Only
"typing" is said from socket to socket, within this process, and forgotten.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta, Struct

from doorbuster.contexts.support.http.views import ConversationView, MessageView
from doorbuster.contexts.support.model import AGENTS, CUSTOMERS, Conversation, Draft, side_of
from doorbuster.contexts.support.service import FOLLOWED_MAX, SupportService
from doorbuster.contracts.support import Side
from doorbuster.kernel.clock import rfc3339
from doorbuster.kernel.errors import Busy, ShopError
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.bus.hub import Subscription
from doorbuster.platform.http.faces import IdText
from doorbuster.platform.http.live import LiveRoute, LiveSocket, MessageMalformed

PAGE = 100
OUTAGE_PAUSE_S = 1.0
TYPING_EVERY_S = 1.0
"""More is not passed on."""

Number = Annotated[int, Meta(ge=0, le=2**53)]
ClientId = Annotated[str, Meta(min_length=1, max_length=64)]

log = structlog.get_logger("support")


class Resume(Struct, frozen=True, tag="resume", forbid_unknown_fields=True):
    """From now on this connection is told of everything, beginning behind these numbers (by conversation).

    One's other open conversations begin behind what one has read.
    """

    after: Annotated[dict[IdText, Number], Meta(max_length=FOLLOWED_MAX)] = {}


class SendText(Struct, frozen=True, tag="send", forbid_unknown_fields=True):
    conversation: IdText
    client_id: ClientId
    text: Annotated[str, Meta(max_length=16_000)]


class Read(Struct, frozen=True, tag="read", forbid_unknown_fields=True):
    conversation: IdText
    number: Number


class Typing(Struct, frozen=True, tag="typing", forbid_unknown_fields=True):
    conversation: IdText


class Ack(Struct, frozen=True, tag="ack"):
    """The message is kept, under this number."""

    conversation: IdText
    client_id: str
    number: int
    at: str


class MessageTold(MessageView, frozen=True, tag="message"):
    """A message, also one's own: numbers come without gaps."""


class ConversationTold(Struct, frozen=True, tag="conversation"):
    """How a conversation stands; sent before its first message, and whenever agent, status or marks have changed."""

    conversation: ConversationView


class Left(Struct, frozen=True, tag="left"):
    """It is not (or no longer) one of this person's; nothing more of it will come."""

    conversation: IdText


class Resumed(Struct, frozen=True, tag="resumed"):
    """Everything up to now has been sent."""


class TypingTold(Struct, frozen=True, tag="typing"):
    conversation: IdText
    side: Side


Incoming = Resume | SendText | Read | Typing
_incoming = msgspec.json.Decoder(Incoming)


def live_route(service: SupportService) -> LiveRoute:
    room: Room = defaultdict(set)

    async def serve(socket: LiveSocket, _parameter: str) -> None:
        await Chat(service, socket, room).run()

    return LiveRoute(
        "/v1/support/live",
        (*CUSTOMERS, *AGENTS),
        serve,
        summary="All of one's conversations, as they happen",
        tags=("support",),
        description='Begin with {"type":"resume","after":{…}}; see docs/contexts/support.md.',
        told=(Ack, MessageTold, ConversationTold, Left, Resumed, TypingTold),
        heard=(Resume, SendText, Read, Typing),
    )


class Chat:
    """One connection. `room`: who of this process shows which conversation."""

    def __init__(self, service: SupportService, socket: LiveSocket, room: Room) -> None:
        self._service = service
        self._socket = socket
        self._room = room
        self._side: Side = side_of(socket.principal)
        self._told: dict[int, int] = {}
        """Of each conversation that is followed, the number of the last message that was sent here."""
        self._state: dict[int, object] = {}
        self._following: asyncio.Task[None] | None = None
        self._typed_s: dict[int, float] = {}

    async def run(self) -> None:
        """Raises SocketGone."""
        try:
            while True:
                text = await self._socket.receive()
                try:
                    message = _incoming.decode(text)
                except (msgspec.DecodeError, UnicodeEncodeError) as error:
                    self._socket.send_error(MessageMalformed(str(error)))
                    continue
                await self._take(message)
        finally:
            await self._stop()

    async def _stop(self) -> None:
        """Follows nothing any more. In this order: what is being read would be followed again."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for conversation_id in list(self._told):
            self._forget(conversation_id)

    async def _take(self, message: Incoming) -> None:
        """What is wrong with a message is told to its sender; the connection goes on."""
        ref = message.client_id if isinstance(message, SendText) else None
        try:
            if isinstance(message, Resume):
                await self._resume({parse_id(each): number for each, number in message.after.items()})
            elif isinstance(message, SendText):
                await self._send(message)
            elif isinstance(message, Read):
                await self._service.read(self._socket.principal, parse_id(message.conversation), message.number)
            else:
                self._type(parse_id(message.conversation))
        except ShopError as error:
            self._socket.send_error(error, ref)

    async def _send(self, message: SendText) -> None:
        draft = Draft(message.client_id, message.text)
        sent = await self._service.send(self._socket.principal, parse_id(message.conversation), draft)
        self._socket.send(Ack(message.conversation, sent.client_id, sent.number, rfc3339(sent.at_ms)))

    def _type(self, conversation_id: int) -> None:
        """Nobody is told who does not follow the conversation, and nobody by somebody who does not."""
        now_s = asyncio.get_running_loop().time()
        if conversation_id not in self._told or now_s - self._typed_s.get(conversation_id, -1e9) < TYPING_EVERY_S:
            return
        self._typed_s[conversation_id] = now_s
        for other in self._room.get(conversation_id, ()):
            if other.account_id != self.account_id:
                other.tell_typing(conversation_id, self._side)

    @property
    def account_id(self) -> int:
        return self._socket.principal.account_id

    def tell_typing(self, conversation_id: int, side: Side) -> None:
        self._socket.send(TypingTold(str(conversation_id), side))

    async def _resume(self, after: dict[int, int]) -> None:
        await self._stop()
        for conversation_id, number in after.items():
            self._told[conversation_id] = number
        self._following = self._socket.start(self._follow())

    async def _follow(self) -> None:
        resumed = False
        with self._service.hub.subscribe(self._socket.principal.account_id) as subscription:
            while True:
                subscription.take()
                try:
                    await self._catch_up(subscription)
                except Busy as outage:
                    log.warning("chat waits", error=repr(outage))
                    await asyncio.sleep(OUTAGE_PAUSE_S)
                    continue
                if not resumed:
                    self._socket.send(Resumed())
                    resumed = True
                await subscription.wait()

    async def _catch_up(self, subscription: Subscription) -> None:
        """Sends what is new. Raises Unavailable; what was sent by then is not sent again."""
        shown = await self._service.followed(self._socket.principal, self._told)
        for conversation_id in [each for each in self._told if each not in shown]:
            self._socket.send(Left(str(conversation_id)))
            self._leave(subscription, conversation_id)
        for conversation in shown.values():
            if conversation.id not in self._state:
                self._told.setdefault(conversation.id, conversation.read_by(self._side))
                self._room[conversation.id].add(self)
                subscription.follow(conversation.id)
            await self._show(conversation)
            if conversation.status == "closed":
                self._leave(subscription, conversation.id)

    async def _show(self, conversation: Conversation) -> None:
        state = (conversation.status, conversation.agent_id, conversation.customer_read, conversation.support_read)
        if self._state.get(conversation.id) != state:
            self._state[conversation.id] = state
            self._socket.send(ConversationTold(ConversationView.of(conversation, self._side)))
        while self._told[conversation.id] < conversation.last_number:
            page = await self._service.messages_behind(conversation, self._told[conversation.id], PAGE)
            for message in page:
                await self._socket.send_paced(_told(MessageView.of(message)))
                self._told[conversation.id] = message.number
            await self._socket.drained()

    def _leave(self, subscription: Subscription, conversation_id: int) -> None:
        subscription.leave(conversation_id)
        self._forget(conversation_id)

    def _forget(self, conversation_id: int) -> None:
        self._told.pop(conversation_id, None)
        self._state.pop(conversation_id, None)
        self._typed_s.pop(conversation_id, None)
        others = self._room.get(conversation_id)
        if others is not None:
            others.discard(self)
            if not others:
                del self._room[conversation_id]


Room = defaultdict[int, set[Chat]]


def _told(view: MessageView) -> MessageTold:
    return MessageTold(*(getattr(view, name) for name in MessageView.__struct_fields__))
