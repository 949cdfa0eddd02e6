"""Support over HTTP: everything but being told at once."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.support import model
from doorbuster.contexts.support.http.views import ConversationView, MessageView, Number, Text
from doorbuster.contexts.support.model import AGENTS, CUSTOMERS, OVERSEERS, Conversation, Draft, Opening, side_of
from doorbuster.contexts.support.service import SupportService
from doorbuster.contracts.support import MessageInvalid
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Principal
from doorbuster.platform.http.faces import AnyRequest, IdText, allow, idempotency_key_of, principal_of
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, Page, checked_limit, decode_cursor, encode_cursor

NUMBER_MAX = 2**53
Subject = Annotated[str, Meta(max_length=model.SUBJECT_MAX, pattern=model.SUBJECT_PATTERN)]
MessageNumber = Annotated[int | None, QueryParameter(ge=0, le=NUMBER_MAX)]


class OpenBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The first message, and what it is about."""

    text: Text
    subject: Subject = ""
    order_id: IdText | None = None

    def opening(self) -> Opening:
        return Opening(self.text, self.subject, None if self.order_id is None else parse_id(self.order_id))


class MessageBody(Struct, frozen=True, forbid_unknown_fields=True):
    """The Idempotency-Key is the message's `client_id`."""

    text: Text


class ConversationReadBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything up to this number has been read."""

    number: Number


class ConversationTransferBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Another agent's account, or null: back into the queue."""

    to: IdText | None


class ConversationPage(Struct, frozen=True):
    items: list[ConversationView]
    next_cursor: str | None


class MessagePage(Struct, frozen=True):
    """Ascending. `more`: whether there are others in the direction that was asked for."""

    items: list[MessageView]
    more: bool


class Released(Struct, frozen=True):
    """How many conversations went back into the queue."""

    released: int


def routes(service: SupportService) -> list[ControllerRouterHandler]:
    return [*_conversation_routes(service), *_message_routes(service), *_desk_routes(service)]


def _conversation_routes(service: SupportService) -> list[ControllerRouterHandler]:
    everybody = allow(*CUSTOMERS, *AGENTS, *OVERSEERS)
    taking_part = allow(*CUSTOMERS, *AGENTS)

    @post("/v1/conversations", status_code=201, guards=[allow(*CUSTOMERS)], tags=["support"], summary="Ask for help")
    async def open_conversation(request: AnyRequest, data: JSONBody[OpenBody]) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await service.open(principal, idempotency_key_of(request), data.opening()))

    @get("/v1/conversations", guards=[taking_part], tags=["support"], summary="One's own conversations, newest first")
    async def list_conversations(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> ConversationPage:
        before = decode_cursor(cursor) if cursor is not None else None
        principal = principal_of(request)
        return _page(principal, await service.conversations(principal, before, checked_limit(limit)))

    @get(
        "/v1/conversations/{conversation_id:str}",
        guards=[everybody],
        tags=["support"],
        summary="A conversation, with how much of it is unread",
    )
    async def get_conversation(request: AnyRequest, conversation_id: FromPath[str]) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await service.conversation(principal, parse_id(conversation_id)))

    @post(
        "/v1/conversations/{conversation_id:str}/read",
        status_code=200,
        guards=[taking_part],
        tags=["support"],
        summary="Mark messages as read",
    )
    async def read_conversation(
        request: AnyRequest, conversation_id: FromPath[str], data: JSONBody[ConversationReadBody]
    ) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await service.read(principal, parse_id(conversation_id), data.number))

    @post(
        "/v1/conversations/{conversation_id:str}/close",
        status_code=200,
        guards=[taking_part],
        tags=["support"],
        summary="End a conversation, for both sides",
    )
    async def close_conversation(request: AnyRequest, conversation_id: FromPath[str]) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await service.close(principal, parse_id(conversation_id)))

    return [open_conversation, list_conversations, get_conversation, read_conversation, close_conversation]


def _message_routes(service: SupportService) -> list[ControllerRouterHandler]:
    @get(
        "/v1/conversations/{conversation_id:str}/messages",
        guards=[allow(*CUSTOMERS, *AGENTS, *OVERSEERS)],
        tags=["support"],
        summary="Messages: the newest, those before a number, or those after one",
    )
    async def list_messages(
        request: AnyRequest,
        conversation_id: FromPath[str],
        after: MessageNumber = None,
        before: MessageNumber = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
    ) -> MessagePage:
        if after is not None and before is not None:
            raise MessageInvalid("after or before, not both")
        items, more = await service.messages(
            principal_of(request), parse_id(conversation_id), after=after, before=before, limit=checked_limit(limit)
        )
        return MessagePage([MessageView.of(each) for each in items], more)

    @post(
        "/v1/conversations/{conversation_id:str}/messages",
        status_code=201,
        guards=[allow(*CUSTOMERS, *AGENTS)],
        tags=["support"],
        summary="Send a message",
    )
    async def send_message(
        request: AnyRequest, conversation_id: FromPath[str], data: JSONBody[MessageBody]
    ) -> MessageView:
        draft = Draft(idempotency_key_of(request), data.text)
        return MessageView.of(await service.send(principal_of(request), parse_id(conversation_id), draft))

    return [list_messages, send_message]


def _desk_routes(service: SupportService) -> list[ControllerRouterHandler]:
    desk, agents = service.desk, allow(*AGENTS)

    @get(
        "/v1/support/queue",
        guards=[allow(*AGENTS, *OVERSEERS)],
        tags=["support"],
        summary="Who waits for an agent, the longest first",
    )
    async def queue(
        request: AnyRequest, cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> ConversationPage:
        after = decode_cursor(cursor) if cursor is not None else None
        principal = principal_of(request)
        return _page(principal, await desk.queue(principal, after, checked_limit(limit)))

    @post(
        "/v1/support/queue/next",
        status_code=200,
        guards=[agents],
        tags=["support"],
        summary="Take the conversation that has waited longest",
    )
    async def take_next(request: AnyRequest) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await desk.take_next(principal))

    @post(
        "/v1/conversations/{conversation_id:str}/take",
        status_code=200,
        guards=[agents],
        tags=["support"],
        summary="Take a certain conversation that waits",
    )
    async def take(request: AnyRequest, conversation_id: FromPath[str]) -> ConversationView:
        principal = principal_of(request)
        return _view(principal, await desk.take(principal, parse_id(conversation_id)))

    @post(
        "/v1/conversations/{conversation_id:str}/transfer",
        status_code=200,
        guards=[allow(*AGENTS, *OVERSEERS)],
        tags=["support"],
        summary="Hand a conversation on to another agent, or back into the queue",
    )
    async def transfer(
        request: AnyRequest, conversation_id: FromPath[str], data: JSONBody[ConversationTransferBody]
    ) -> ConversationView:
        principal = principal_of(request)
        to = None if data.to is None else parse_id(data.to)
        return _view(principal, await desk.transfer(principal, parse_id(conversation_id), to))

    @post(
        "/v1/support/away",
        status_code=200,
        guards=[agents],
        tags=["support"],
        summary="Go away: one's open conversations go back into the queue",
    )
    async def go_away(request: AnyRequest) -> Released:
        return Released(await desk.leave(principal_of(request)))

    return [queue, take_next, take, transfer, go_away]


def _view(principal: Principal, conversation: Conversation) -> ConversationView:
    return ConversationView.of(conversation, side_of(principal))


def _page(principal: Principal, page: Page[Conversation]) -> ConversationPage:
    items = [_view(principal, each) for each in page.items]
    return ConversationPage(items, None if page.next_after is None else encode_cursor(page.next_after))
