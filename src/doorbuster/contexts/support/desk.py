"""The agents' desk: who takes which conversation, hands it on, or lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from doorbuster.contexts.support import store
from doorbuster.contexts.support.model import AGENTS, OVERSEERS, Conversation, takes_part
from doorbuster.contexts.support.seen import changed, seen_locked
from doorbuster.contexts.support.store import Ended
from doorbuster.contracts.support import (
    AgentBusy,
    AgentNotFound,
    ConversationClosed,
    ConversationNotFound,
    ConversationTaken,
    ConversationWaiting,
    QueueEmpty,
)
from doorbuster.kernel.errors import Busy
from doorbuster.kernel.ids import ID_MAX
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import emit
from doorbuster.platform.context import Platform
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.sql.paging import Page
from doorbuster.platform.telemetry.crash_points import crash_point

SOURCE = "support"
SWEEP_S = 1.0
OUTAGE_PAUSE_S = 2.0
SWEPT_MAX = 200

log = structlog.get_logger("support")


class Desk:
    def __init__(self, platform: Platform, database: Database) -> None:
        self._platform = platform
        self._database = database
        self._per_agent_max = platform.settings.support.conversations_per_agent_max
        self._answer_within_ms = platform.settings.support.answer_within_s * 1000

    async def queue(self, agent: Principal, after: int | None, limit: int) -> Page[Conversation]:
        """Conversations that wait for an agent, the longest first."""
        if agent.role in AGENTS:
            await self._know(agent)
        found = await self._database.read(lambda tx: store.waiting(tx, after or 0, limit + 1))
        return Page(found[:limit], found[limit - 1].ticket if len(found) > limit else None)

    async def take_next(self, agent: Principal) -> Conversation:
        """Gives the agent the conversation that has waited longest, and nobody else. Raises QueueEmpty, AgentBusy."""

        def work(tx: Tx) -> Conversation:
            self._count_up(tx, agent.account_id)
            conversation = store.longest_waiting(tx)
            if conversation is None:
                raise QueueEmpty
            return self._taken(tx, conversation, agent.account_id)

        await self._know(agent)
        return await self._written(work)

    async def take(self, agent: Principal, conversation_id: int) -> Conversation:
        """Gives the agent this one. Taking one's own changes nothing.

        Raises ConversationTaken, AgentBusy, ConversationClosed, ConversationNotFound.
        """

        def work(tx: Tx) -> Conversation:
            conversation = store.locked(tx, conversation_id)
            if conversation is None:
                raise ConversationNotFound
            if takes_part(agent, conversation):
                if conversation.status == "closed":
                    raise ConversationClosed
                return conversation
            if not conversation.waits:
                # It may just have been in the queue; of those long gone nobody learns more than that.
                raise ConversationTaken if conversation.status == "open" else ConversationNotFound
            self._count_up(tx, agent.account_id)
            return self._taken(tx, conversation, agent.account_id)

        await self._know(agent)
        return await self._written(work)

    async def transfer(self, agent: Principal, conversation_id: int, to_agent_id: int | None) -> Conversation:
        """Hands one's conversation on: to another agent, or (None) back to its place in the queue.

        Raises ConversationNotFound, ConversationClosed, ConversationWaiting, AgentNotFound, AgentBusy.
        """

        def work(tx: Tx) -> Conversation:
            conversation = seen_locked(tx, agent, conversation_id)
            if conversation.status == "closed":
                raise ConversationClosed
            if not takes_part(agent, conversation) and agent.role not in OVERSEERS:
                raise ConversationWaiting
            if conversation.agent_id == to_agent_id:
                return conversation
            if to_agent_id is None:
                return self._let_go(tx, conversation, "released")
            if not store.is_known(tx, to_agent_id, "support"):
                raise AgentNotFound
            return self._handed_on(tx, conversation, to_agent_id)

        return await self._written(work)

    async def leave(self, agent: Principal) -> int:
        """The agent goes away: every open conversation of theirs goes back into the queue. Returns how many."""

        def work(tx: Tx) -> int:
            mine = store.list_of(tx, "support", agent.account_id, ID_MAX, SWEPT_MAX, only_open=True)
            still = [
                each
                for each in store.locked_all(tx, [each.id for each in mine])
                if each.status == "open" and each.agent_id == agent.account_id
            ]
            return self._let_all_go(tx, still, "released")

        count = await self._database.write(work)
        self._platform.wakeups.wake(SOURCE)
        return count

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            pause_s = SWEEP_S
            try:
                await self.sweep()
            except Busy as outage:
                log.warning("support sweep waits", error=repr(outage))
                pause_s = OUTAGE_PAUSE_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> int:
        """Puts conversations that their agent leaves without an answer back into the queue. Returns how many.

        Raises Unavailable.
        """
        now_ms = self._platform.clock.now_ms()
        before_ms = now_ms - self._answer_within_ms
        late = await self._database.read(lambda tx: store.unanswered_since(tx, before_ms, SWEPT_MAX))
        if not late:
            return 0

        def work(tx: Tx) -> int:
            still = [
                each
                for each in store.locked_all(tx, late)
                if each.unanswered_ms is not None and each.unanswered_ms <= before_ms
            ]  # the others were answered, closed or handed on in the meantime
            return self._let_all_go(tx, still, "away")

        count = await self._database.write(work)
        crash_point("support.swept")
        self._platform.wakeups.wake(SOURCE)
        return count

    def _let_all_go(self, tx: Tx, conversations: Sequence[Conversation], cause: Ended) -> int:
        """By agent, for their counters are locked in this order everywhere."""
        for conversation in sorted(conversations, key=lambda each: each.agent_id or 0):
            self._let_go(tx, conversation, cause)
        return len(conversations)

    def _let_go(self, tx: Tx, conversation: Conversation, cause: Ended) -> Conversation:
        former = conversation.agent_id
        if former is None:
            return conversation
        waiting = store.end_turn(tx, conversation, cause, self._platform.clock.now_ms())
        store.count_down(tx, former, "support")
        emit(tx, [changed(waiting, former)], self._platform.clock.now_ms())
        return waiting

    def _handed_on(self, tx: Tx, conversation: Conversation, to_agent_id: int) -> Conversation:
        """The counters in the order of their ids: two agents may hand on to each other at once."""
        now_ms = self._platform.clock.now_ms()
        former = conversation.agent_id
        if former is not None and former < to_agent_id:
            store.count_down(tx, former, "support")
        self._count_up(tx, to_agent_id)
        if former is not None and former > to_agent_id:
            store.count_down(tx, former, "support")
        waiting = conversation if former is None else store.end_turn(tx, conversation, "transferred", now_ms)
        taken = store.begin_turn(tx, waiting, to_agent_id, now_ms)
        emit(tx, [changed(taken, former)], now_ms)
        return taken

    def _taken(self, tx: Tx, conversation: Conversation, agent_id: int) -> Conversation:
        now_ms = self._platform.clock.now_ms()
        taken = store.begin_turn(tx, conversation, agent_id, now_ms)
        emit(tx, [changed(taken)], now_ms)
        crash_point("support.taken-not-committed")
        return taken

    def _count_up(self, tx: Tx, agent_id: int) -> None:
        if not store.count_up(tx, agent_id, "support", self._per_agent_max):
            raise AgentBusy(f"at most {self._per_agent_max} at a time")

    async def _know(self, agent: Principal) -> None:
        """In a transaction of its own: who finds the queue empty is known all the same."""
        if not await self._database.read(lambda tx: store.is_known(tx, agent.account_id, "support")):
            await self._database.write(lambda tx: store.know(tx, agent.account_id, "support"))

    async def _written(self, work: Callable[[Tx], Conversation]) -> Conversation:
        conversation = await self._database.write(work)
        self._platform.wakeups.wake(SOURCE)
        return conversation
