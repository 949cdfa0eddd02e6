"""The accounts of a small shop, to test on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

from doorbuster.contexts.accounts.model import NewAddress
from doorbuster.contexts.accounts.service import AccountsService
from doorbuster.contexts.accounts.sessions import SessionsService
from doorbuster.contexts.accounts.wiring import AccountsContext
from doorbuster.contracts.accounts import Account
from doorbuster.kernel.clock import ManualClock
from doorbuster.kernel.principal import Principal
from doorbuster.platform.bus.tables import outbox
from doorbuster.platform.context import Platform
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.sql.database import Database

T = TypeVar("T")

EMAIL, PASSWORD = "ann@example.org", "correct horse battery"
HOME, AWAY = "192.0.2.1", "198.51.100.7"
PARCEL = NewAddress("Ann", "+86 10 1234 5678", "CN", "", "北京", "长安街 1", "100000")


@dataclass
class Shop:
    built: AccountsContext
    database: Database
    platform: Platform
    clock: ManualClock
    ring: KeyRing
    _keys: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def service(self) -> AccountsService:
        return self.built.service

    @property
    def sessions(self) -> SessionsService:
        return self.built.sessions

    def key(self) -> str:
        return f"key-{next(self._keys)}"

    async def register(self, email: str = EMAIL, password: str = PASSWORD, key: str | None = None) -> Account:
        return await self.service.register(email, password, "Ann", key or self.key(), HOME)

    async def rows(self, table: sa.Table, *where: sa.ColumnElement[bool]) -> Sequence[sa.Row[Any]]:
        statement = sa.select(table).where(*where).order_by(*table.primary_key.columns)
        return await self.database.read(lambda tx: tx.execute(statement).all())

    async def event_types(self) -> list[str]:
        return [row.type for row in await self.rows(outbox)]


def principal(account: Account) -> Principal:
    return Principal(account.id, account.role)


async def all_at_once(work: Callable[[int], Awaitable[T]], count: int) -> list[T | BaseException]:
    """Runs `count` calls from behind one gate; each with its value or its exception."""
    gate = asyncio.Event()

    async def one(number: int) -> T:
        await gate.wait()
        return await work(number)

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    await asyncio.sleep(0)
    gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


def of_type(outcomes: Sequence[object], kind: type[T]) -> list[T]:
    return [outcome for outcome in outcomes if isinstance(outcome, kind)]
