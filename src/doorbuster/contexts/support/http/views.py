"""Conversations and messages on the wire."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from doorbuster.contexts.support import model
from doorbuster.contexts.support.model import Conversation, Message
from doorbuster.contracts.support import ConversationStatus, Side
from doorbuster.kernel.clock import rfc3339
from doorbuster.platform.http.faces import IdText, TimeText

Text = Annotated[str, Meta(min_length=1, max_length=model.TEXT_MAX, description="Lines of text; not only white space")]
Number = Annotated[int, Meta(ge=0, le=2**53, description="Messages of a conversation are numbered 1, 2, 3, …")]


class ConversationView(Struct, frozen=True):
    """`unread`: messages of the other side behind one's own mark. `customer_read`, `support_read`: the sides' marks."""

    id: IdText
    status: ConversationStatus
    customer_id: IdText
    agent_id: IdText | None
    order_id: IdText | None
    subject: str
    last_number: Number
    unread: Number
    customer_read: Number
    support_read: Number
    opened_at: TimeText
    changed_at: TimeText

    @classmethod
    def of(cls, conversation: Conversation, side: Side) -> ConversationView:
        return cls(
            str(conversation.id),
            conversation.status,
            str(conversation.customer_id),
            None if conversation.agent_id is None else str(conversation.agent_id),
            None if conversation.order_id is None else str(conversation.order_id),
            conversation.subject,
            conversation.last_number,
            conversation.unread_by(side),
            conversation.customer_read,
            conversation.support_read,
            rfc3339(conversation.opened_ms),
            rfc3339(conversation.changed_ms),
        )


class MessageView(Struct, frozen=True):
    """`client_id` is what its sender called it."""

    conversation: IdText
    number: Number
    side: Side
    sender_id: IdText
    client_id: str
    text: str
    at: TimeText

    @classmethod
    def of(cls, message: Message) -> MessageView:
        return cls(
            str(message.conversation_id),
            message.number,
            message.side,
            str(message.sender_id),
            message.client_id,
            message.text,
            rfc3339(message.at_ms),
        )
