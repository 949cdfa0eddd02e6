"""Support on an empty database, with its people."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import sqlalchemy as sa

from doorbuster.contexts.support import wiring
from doorbuster.contexts.support.desk import Desk
from doorbuster.contexts.support.model import Conversation, Draft, Message, Opening
from doorbuster.contexts.support.service import SupportService
from doorbuster.contexts.support.tables import conversations, messages, people, turns
from doorbuster.contracts.audit import Check
from doorbuster.contracts.support import ConversationChanged, ConversationRead, MessageSent
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.events import Event
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.outbox import type_of
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Context, Platform
from doorbuster.platform.sql.database import Database
from doorbuster.platform.sql.idempotency import idempotency_keys

MIGRATIONS = "doorbuster.contexts.support.migrations"
TABLES = (conversations, messages, turns, people, outbox, idempotency_keys)
TOLD = {type_of(kind): kind for kind in (MessageSent, ConversationChanged, ConversationRead)}

ANN, BEN = Principal(101, "customer"), Principal(102, "customer")
GUEST = Principal(103, "guest")
EVA, FRITZ = Principal(201, "support"), Principal(202, "support")
ROOT = Principal(301, "admin")


@dataclass
class SupportShop:
    platform: Platform
    clock: ManualClock
    database: Database
    service: SupportService
    desk: Desk
    context: Context
    _keys: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def key(self) -> str:
        return f"key-{next(self._keys)}"

    async def open(self, who: Principal = ANN, text: str = "Where is my tea?") -> int:
        """A conversation that waits; its id."""
        return (await self.service.open(who, self.key(), Opening(text))).id

    async def open_with(self, who: Principal = ANN, agent: Principal = EVA) -> int:
        """A conversation that an agent has."""
        conversation_id = await self.open(who)
        await self.desk.take(agent, conversation_id)
        return conversation_id

    async def say(self, who: Principal, conversation_id: int, text: str, client_id: str | None = None) -> Message:
        return await self.service.send(who, conversation_id, Draft(client_id or self.key(), text))

    async def row(self, conversation_id: int) -> sa.Row[Any]:
        (row,) = await self.rows(conversations, conversations.c.id == conversation_id)
        return row

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def everything(self) -> list[Sequence[sa.Row[Any]]]:
        """All rows of all tables: to prove that nothing was written."""
        return [await self.rows(table) for table in TABLES]

    async def texts(self, conversation_id: int) -> list[tuple[int, int, str]]:
        """(number, sender, text) of a conversation's rows."""
        found = await self.rows(messages, messages.c.conversation_id == conversation_id)
        return [(row.number, row.sender_id, row.text) for row in found]

    async def agents(self, conversation_id: int) -> list[tuple[int, str | None]]:
        """(agent, why it ended) of each turn, in order."""
        found = await self.rows(turns, turns.c.conversation_id == conversation_id)
        return [(row.agent_id, row.ended_by) for row in found]

    async def open_of(self, who: Principal) -> int:
        """How many open conversations are counted of a person."""
        side = "support" if who.role == "support" else "customer"
        found = await self.rows(people, people.c.account_id == who.account_id, people.c.side == side)
        return found[0].open if found else 0

    async def told(self) -> list[Event]:
        return [msgspec.json.decode(row.payload, type=TOLD[row.type]) for row in await self.rows(outbox)]

    async def checks(self) -> dict[str, Check]:
        return {check.name: check for check in await self.service.audit()}

    async def broken(self) -> list[str]:
        return [name for name, check in (await self.checks()).items() if not check.ok]

    async def tamper(self, *statements: sa.Executable) -> None:
        """Changes rows behind the service's back."""
        await self.database.write(lambda tx: [tx.execute(statement) for statement in statements])


def build_shop(platform: Platform, clock: ManualClock, database: Database) -> SupportShop:
    built = wiring.build(platform, database)
    return SupportShop(platform, clock, database, built.service, built.desk, built.context)


def view(conversation: Conversation) -> tuple[str, int | None, int]:
    """(status, agent, newest number): what most tests look at."""
    return conversation.status, conversation.agent_id, conversation.last_number
