"""What both services share: conversations as somebody may see them, and what is told of them."""

from __future__ import annotations

from doorbuster.contexts.support import store
from doorbuster.contexts.support.model import Conversation, Opening, may_see
from doorbuster.contracts.support import ConversationChanged, ConversationNotFound
from doorbuster.kernel.principal import Principal
from doorbuster.platform.sql.database import Tx


def open_one(conversation_id: int, customer_id: int, opening: Opening, now_ms: int) -> Conversation:
    """A new conversation without messages. Its id is its ticket: ids rise with time."""
    return Conversation(
        id=conversation_id,
        customer_id=customer_id,
        agent_id=None,
        status="open",
        order_id=opening.order_id,
        subject=opening.subject,
        last_number=0,
        customer_read=0,
        support_read=0,
        opened_ms=now_ms,
        changed_ms=now_ms,
        ticket=conversation_id,
        turns=0,
        unanswered_ms=None,
    )


def seen_locked(tx: Tx, principal: Principal, conversation_id: int) -> Conversation:
    """The conversation, locked. Raises ConversationNotFound, also for what belongs to others."""
    conversation = store.locked(tx, conversation_id)
    if conversation is None or not may_see(principal, conversation):
        raise ConversationNotFound
    return conversation


def changed(conversation: Conversation, former_agent_id: int | None = None) -> ConversationChanged:
    concerned = {conversation.customer_id, conversation.agent_id, former_agent_id} - {None}
    return ConversationChanged(
        conversation.id,
        conversation.status,
        conversation.customer_id,
        conversation.agent_id,
        tuple(sorted(account_id for account_id in concerned if account_id is not None)),
    )
