"""Who may do what in a conversation, and what a message is. Pure."""

from __future__ import annotations

import re

from msgspec import Struct

from doorbuster.contracts.support import ConversationStatus, MessageInvalid, Side
from doorbuster.kernel.principal import Principal, Role

TEXT_MAX = 4_000
SUBJECT_MAX = 120
SUBJECT_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
EXCERPT_MAX = 120

CUSTOMERS: tuple[Role, ...] = ("guest", "customer", "courier", "merchant")
"""Who may ask for help."""
AGENTS: tuple[Role, ...] = ("support",)
OVERSEERS: tuple[Role, ...] = ("admin",)
"""Who may read everything and say nothing."""

_FORBIDDEN = re.compile(r"[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SUBJECT = re.compile(SUBJECT_PATTERN)
_CLIENT_ID = re.compile(r"[!-~]{1,64}")


class Conversation(Struct, frozen=True):
    """`last_number` is the newest message's, and so their count; marks are the number that each side has read to."""

    id: int
    customer_id: int
    agent_id: int | None
    status: ConversationStatus
    order_id: int | None
    subject: str
    last_number: int
    customer_read: int
    support_read: int
    opened_ms: int
    changed_ms: int
    ticket: int
    """The place in the queue: the lowest has waited longest."""
    turns: int
    unanswered_ms: int | None
    """Since when the customer waits for the agent's answer."""

    @property
    def waits(self) -> bool:
        return self.status == "open" and self.agent_id is None

    def read_by(self, side: Side) -> int:
        return self.customer_read if side == "customer" else self.support_read

    def unread_by(self, side: Side) -> int:
        """Who sends a message has read what came before it, so that what is unread is all the other side's."""
        return self.last_number - self.read_by(side)


class Message(Struct, frozen=True):
    conversation_id: int
    number: int
    sender_id: int
    side: Side
    client_id: str
    text: str
    at_ms: int


class Draft(Struct, frozen=True):
    """`client_id` is the sender's own name for the message: sent twice, it is one message."""

    client_id: str
    text: str


class Opening(Struct, frozen=True):
    """What a customer begins with."""

    text: str
    subject: str = ""
    order_id: int | None = None


def side_of(principal: Principal) -> Side:
    return "support" if principal.role in (*AGENTS, *OVERSEERS) else "customer"


def may_see(principal: Principal, conversation: Conversation) -> bool:
    """Customers their own, agents what waits and their own, admins all."""
    if principal.role in OVERSEERS:
        return True
    if principal.role in AGENTS:
        return conversation.waits or conversation.agent_id == principal.account_id
    return conversation.customer_id == principal.account_id


def takes_part(principal: Principal, conversation: Conversation) -> bool:
    """Whether it is one of this person's own conversations."""
    if principal.role in AGENTS:
        return conversation.agent_id == principal.account_id
    return principal.role in CUSTOMERS and conversation.customer_id == principal.account_id


def check_text(text: str) -> None:
    """Raises MessageInvalid."""
    if not text.strip() or len(text) > TEXT_MAX or _FORBIDDEN.search(text):
        raise MessageInvalid(f"a text is 1 to {TEXT_MAX} characters, without control characters")


def check_subject(subject: str) -> None:
    """Raises MessageInvalid."""
    # The line break too, which the pattern's $ lets through at the end.
    if len(subject) > SUBJECT_MAX or _FORBIDDEN.search(subject) or "\n" in subject or not _SUBJECT.match(subject):
        raise MessageInvalid(f"a subject is one line of at most {SUBJECT_MAX} characters")


def check_client_id(client_id: str) -> None:
    """Raises MessageInvalid."""
    if not _CLIENT_ID.fullmatch(client_id):
        raise MessageInvalid("a client_id is 1 to 64 visible ASCII characters")


def excerpt(text: str) -> str:
    """The beginning of a text on one line, at most EXCERPT_MAX characters."""
    line = " ".join(text[: 4 * EXCERPT_MAX].split())
    return line if len(line) <= EXCERPT_MAX else f"{line[: EXCERPT_MAX - 1]}…"
