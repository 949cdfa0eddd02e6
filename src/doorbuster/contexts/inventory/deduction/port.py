"""The port, and what the strategies share."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

import structlog

from doorbuster.contexts.inventory.holding import GuardOf, hold_batch
from doorbuster.contexts.inventory.model import Decision
from doorbuster.contexts.inventory.posting import Stale
from doorbuster.contracts.inventory import Hold, HoldRequest
from doorbuster.kernel.clock import Clock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import OutcomeUnknown, Overloaded, ShopError
from doorbuster.platform.sql.database import Database, Tx
from doorbuster.platform.telemetry.crash_points import crash_point

RACES_MAX = 24
"""How often a hold whose stock was changed under it is tried again."""
PAUSE_S, PAUSE_MAX_S = 0.002, 0.1

log = structlog.get_logger("inventory")


class Deduction(Protocol):
    async def hold(self, request: HoldRequest, deadline: Deadline | None = None) -> Hold:
        """Durable when this returns. Raises what contracts.inventory.Inventory.hold_many answers."""
        ...

    async def close(self) -> None: ...


class Writer:
    """The one transaction, as each strategy asks for it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database, self.clock = database, clock

    async def write(self, requests: list[HoldRequest], *, lock: bool = True, guard: GuardOf | None = None) -> Decision:
        """Raises Stale, Unavailable, OutcomeUnknown. A lost COMMIT is asked for once more: the order is its key."""

        def work(tx: Tx) -> Decision:
            decision = hold_batch(tx, requests, self.clock.now_ms(), lock=lock, guard=guard)
            crash_point("inventory.held-not-committed")
            return decision

        try:
            return await self.database.write(work)
        except OutcomeUnknown:
            log.warning("connection lost during commit; asking again", requests=len(requests))
            return await self.database.write(work)

    async def write_through_races(self, requests: list[HoldRequest]) -> Decision:
        """The same under locks, where only an order's own twin can come between. Raises Overloaded."""
        for attempt in range(RACES_MAX):
            try:
                return await self.write(requests)
            except Stale:
                await pause(attempt)
        raise Overloaded


async def pause(attempt: int) -> None:
    """Full jitter."""
    await asyncio.sleep(random.uniform(0, min(PAUSE_S * 2**attempt, PAUSE_MAX_S)))  # noqa: S311 - jitter


def in_time(deadline: Deadline | None) -> None:
    """Raises Overloaded: nobody waits for the answer any more."""
    if deadline is not None and deadline.passed():
        raise Overloaded("the deadline passed while the request was waiting")


def only(decision: Decision) -> Hold:
    (outcome,) = decision.outcomes
    if isinstance(outcome, ShopError):
        raise outcome
    return outcome
