"""Use cases of both sides of a conversation: open, read, write, close. Agents' own are in `desk`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from doorbuster.contexts.support import books, store
from doorbuster.contexts.support.desk import Desk
from doorbuster.contexts.support.model import (
    Conversation,
    Draft,
    Message,
    Opening,
    check_client_id,
    check_subject,
    check_text,
    excerpt,
    may_see,
    side_of,
    takes_part,
)
from doorbuster.contexts.support.seen import changed, open_one, seen_locked
from doorbuster.contracts.audit import Check
from doorbuster.contracts.support import (
    ConversationClosed,
    ConversationNotFound,
    ConversationRead,
    ConversationWaiting,
    MessageInvalid,
    MessageSent,
    TooManyConversations,
)
from doorbuster.kernel.idempotency import IdempotencyKeyReused
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.hub import Hub
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.fallback import FEATURES, FeatureOff
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.idempotency import once
from doorbuster.platform.sql.paging import Page
from doorbuster.platform.telemetry.crash_points import crash_point

NAME = "support"
FOLLOWED_MAX = 200
"""Open conversations that one person's socket follows; more are beyond what the settings allow."""

log = structlog.get_logger(NAME)


class SupportService:
    def __init__(self, platform: Platform, database: Database, hub: Hub, desk: Desk) -> None:
        self._platform = platform
        self._features = platform.runtime.live(FEATURES)
        self._database = database
        self.hub = hub
        self.desk = desk

    async def open(self, principal: Principal, key: str, opening: Opening) -> Conversation:
        """A new conversation with its first message; it waits in the queue.

        Raises FeatureOff, MessageInvalid, TooManyConversations, IdempotencyKeyReused.
        """
        if not self._features().support:
            raise FeatureOff
        check_text(opening.text)
        check_subject(opening.subject)
        now_ms = self._platform.clock.now_ms()
        conversation_id = self._platform.ids.next(principal.account_id)
        open_max = self._platform.settings.support.open_per_customer_max

        def create(tx: Tx) -> Conversation:
            store.know(tx, principal.account_id, "customer")
            if not store.count_up(tx, principal.account_id, "customer", open_max):
                raise TooManyConversations(f"at most {open_max} may be open")
            conversation = open_one(conversation_id, principal.account_id, opening, now_ms)
            store.insert(tx, conversation)
            draft = Draft(key, opening.text)
            store.append(tx, conversation, principal.account_id, "customer", draft, now_ms, waits=False)
            sent = MessageSent(conversation_id, 1, principal.account_id, None, excerpt(opening.text))
            emit(tx, [changed(conversation), sent], now_ms)
            return seen_locked(tx, principal, conversation_id)

        def work(tx: Tx) -> Conversation:
            scope = f"conversation:{principal.account_id}"
            return once(tx, scope, key, opening, Conversation, now_ms, lambda: create(tx))

        return await self._written(work)

    async def conversation(self, principal: Principal, conversation_id: int) -> Conversation:
        """Raises ConversationNotFound, also for what belongs to others."""
        conversation = await self._database.read(lambda tx: store.find(tx, conversation_id))
        if conversation is None or not may_see(principal, conversation):
            raise ConversationNotFound
        return conversation

    async def conversations(self, principal: Principal, before: int | None, limit: int) -> Page[Conversation]:
        """One's own conversations, newest first."""
        side = side_of(principal)
        mine = await self._database.read(
            lambda tx: store.list_of(tx, side, principal.account_id, before or ID_MAX, limit + 1)
        )
        return Page(mine[:limit], mine[limit - 1].id if len(mine) > limit else None)

    async def messages(
        self, principal: Principal, conversation_id: int, *, after: int | None, before: int | None, limit: int
    ) -> tuple[Sequence[Message], bool]:
        """A page of history, ascending: behind `after`, or the newest below `before`; and whether there is more that
        way. Raises ConversationNotFound."""
        await self.conversation(principal, conversation_id)

        def work(tx: Tx) -> list[Message]:
            if after is not None:
                return store.messages_after(tx, conversation_id, after, limit + 1)
            return store.messages_before(tx, conversation_id, before or ID_MAX, limit + 1)

        page = await self._database.read(work)
        more = len(page) > limit
        return (page[:limit] if after is not None else page[-limit:]), more

    async def send(self, principal: Principal, conversation_id: int, draft: Draft) -> Message:
        """The message, numbered; the same one again for the same `client_id`, also after the conversation is closed.

        Raises MessageInvalid, ConversationNotFound, ConversationClosed, ConversationWaiting, IdempotencyKeyReused.
        """
        check_client_id(draft.client_id)
        check_text(draft.text)
        now_ms = self._platform.clock.now_ms()

        def work(tx: Tx) -> Message:
            conversation = seen_locked(tx, principal, conversation_id)
            sent = store.sent_before(tx, conversation_id, principal.account_id, draft.client_id)
            if sent is not None:
                if sent.text != draft.text:
                    raise IdempotencyKeyReused
                return sent
            if conversation.status == "closed":
                raise ConversationClosed
            if not takes_part(principal, conversation):
                raise ConversationWaiting
            side = side_of(principal)
            waits = side == "customer" and conversation.agent_id is not None
            message = store.append(tx, conversation, principal.account_id, side, draft, now_ms, waits=waits)
            to = conversation.agent_id if side == "customer" else conversation.customer_id
            told = MessageSent(conversation_id, message.number, principal.account_id, to, excerpt(draft.text))
            emit(tx, [told], now_ms)
            crash_point("support.message-not-committed")
            return message

        message = await self._database.write(work)
        crash_point("support.message-committed")
        self._platform.wakeups.wake(NAME)
        return message

    async def read(self, principal: Principal, conversation_id: int, number: int) -> Conversation:
        """Marks everything up to `number` as read by one's own side. A mark never goes back.

        Raises ConversationNotFound, MessageInvalid (there is no such message yet), ConversationWaiting.
        """

        def work(tx: Tx) -> Conversation:
            conversation = seen_locked(tx, principal, conversation_id)
            if not takes_part(principal, conversation):
                raise ConversationWaiting
            if number > conversation.last_number:
                raise MessageInvalid(f"there are {conversation.last_number} messages")
            side = side_of(principal)
            if store.mark_read(tx, conversation_id, side, number):
                emit(tx, [ConversationRead(conversation_id, side, number)], self._platform.clock.now_ms())
            return seen_locked(tx, principal, conversation_id)

        return await self._written(work)

    async def close(self, principal: Principal, conversation_id: int) -> Conversation:
        """Ends it for both sides. Doing it again changes nothing. Raises ConversationNotFound, ConversationWaiting."""

        def work(tx: Tx) -> Conversation:
            conversation = seen_locked(tx, principal, conversation_id)
            if conversation.status == "closed":
                return conversation
            if not takes_part(principal, conversation):
                raise ConversationWaiting
            now_ms = self._platform.clock.now_ms()
            closed = store.end_turn(tx, conversation, "closed", now_ms)
            store.count_down(tx, closed.customer_id, "customer")
            if closed.agent_id is not None:
                store.count_down(tx, closed.agent_id, "support")
            emit(tx, [changed(closed)], now_ms)
            return closed

        return await self._written(work)

    async def followed(self, principal: Principal, known: Collection[int]) -> Mapping[int, Conversation]:
        """What a live connection shows: one's open conversations, and those of `known` that one may still see."""
        side = side_of(principal)

        def work(tx: Tx) -> list[Conversation]:
            mine = store.list_of(tx, side, principal.account_id, ID_MAX, FOLLOWED_MAX, only_open=True)
            others = set(known).difference(each.id for each in mine)
            return mine + [each for each in store.found(tx, others) if takes_part(principal, each)]

        return {each.id: each for each in await self._database.read(work)}

    async def messages_behind(self, conversation: Conversation, after: int, limit: int) -> Sequence[Message]:
        """Behind `after`, up to what the conversation held when it was looked at: then its reader might see them."""
        page = await self._database.read(lambda tx: store.messages_after(tx, conversation.id, after, limit))
        return [message for message in page if message.number <= conversation.last_number]

    async def audit(self) -> Sequence[Check]:
        """See contracts.audit.Auditable."""
        now_ms = self._platform.clock.now_ms()
        answer_within_ms = self._platform.settings.support.answer_within_s * 1000
        return await self._database.read(lambda tx: books.checks(tx, now_ms, answer_within_ms))

    async def _written(self, work: Callable[[Tx], Conversation]) -> Conversation:
        conversation = await self._database.write(work)
        self._platform.wakeups.wake(NAME)
        return conversation
