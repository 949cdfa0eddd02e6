"""Support: conversations between customers and agents."""

from __future__ import annotations

from typing import Literal

from doorbuster.kernel.errors import Conflict, Invalid, NotFound
from doorbuster.kernel.events import Event

Side = Literal["customer", "support"]
"""The two sides of a conversation; a guest is a customer."""
ConversationStatus = Literal["open", "closed"]


class ConversationNotFound(NotFound):
    slug = "conversation-not-found"
    title = "There is no such conversation"


class ConversationClosed(Conflict):
    slug = "conversation-closed"
    title = "This conversation is closed; open another one"


class ConversationTaken(Conflict):
    slug = "conversation-taken"
    title = "Another agent has this conversation"


class ConversationWaiting(Conflict):
    """Nobody has taken it: an agent takes it before answering."""

    slug = "conversation-waiting"
    title = "Take this conversation first"


class TooManyConversations(Conflict):
    slug = "too-many-conversations"
    title = "Close one of the open conversations first"


class AgentBusy(Conflict):
    """The agent has as many open conversations as one may have. Close or transfer one first."""

    slug = "agent-busy"
    title = "This agent has enough conversations"


class AgentNotFound(NotFound):
    """Agents are known from the first time they look at the queue."""

    slug = "agent-not-found"
    title = "There is no such agent"


class QueueEmpty(NotFound):
    slug = "queue-empty"
    title = "Nobody is waiting"


class MessageInvalid(Invalid):
    slug = "message-invalid"
    title = "A message cannot look like this"


class MessageSent(Event, frozen=True, tag="support.message-sent"):
    """`to_account_id` is None while no agent has the conversation."""

    conversation_id: int
    number: int
    from_account_id: int
    to_account_id: int | None
    excerpt: str

    @property
    def aggregate_id(self) -> int:
        return self.conversation_id


class ConversationChanged(Event, frozen=True, tag="support.conversation-changed"):
    """It was opened, taken, transferred, put back into the queue or closed. `concerns` are the accounts that have it or
    had it until now."""

    conversation_id: int
    status: ConversationStatus
    customer_id: int
    agent_id: int | None
    concerns: tuple[int, ...]

    @property
    def aggregate_id(self) -> int:
        return self.conversation_id


class ConversationRead(Event, frozen=True, tag="support.conversation-read"):
    """One side has read up to message `number`."""

    conversation_id: int
    side: Side
    number: int

    @property
    def aggregate_id(self) -> int:
        return self.conversation_id
