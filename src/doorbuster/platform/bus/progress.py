"""How far a consumer has come along an outbox."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import sqlalchemy as sa

from doorbuster.platform.bus.consumer import Consumer, position_of
from doorbuster.platform.bus.outbox import Position, end_position
from doorbuster.platform.bus.tables import parked
from doorbuster.platform.sql.database import Database, Tx

POLL_S = 0.05


@dataclass(frozen=True)
class Flow:
    """A consumer and the outbox it reads."""

    source: Database
    target: Database
    consumer: Consumer

    async def end(self) -> Position:
        """Behind everything that is committed now."""
        return await self.source.read(end_position)

    async def caught_up(self, position: Position, at_most_s: float) -> bool:
        """Waits until the consumer has passed `position` and holds nothing parked. False if it takes longer."""
        give_up_s = time.monotonic() + at_most_s
        while not await self.target.read(lambda tx: self._is_past(tx, position)):
            if time.monotonic() > give_up_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def stands_still(self, for_s: float) -> bool:
        """Whether the consumer has something to do and does not move within `for_s`: nobody is running it."""
        before = await self._position()
        if before >= await self.end():
            return False
        await asyncio.sleep(for_s)
        return await self._position() == before

    async def _position(self) -> Position:
        return await self.target.read(lambda tx: position_of(tx, self.consumer))

    def _is_past(self, tx: Tx, position: Position) -> bool:
        if position_of(tx, self.consumer) < position:
            return False
        waiting = sa.select(sa.func.count()).select_from(parked)
        waiting = waiting.where(parked.c.consumer == self.consumer.name, parked.c.dead.is_(False))
        return tx.execute(waiting).scalar_one() == 0
