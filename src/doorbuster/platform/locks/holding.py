"""What all locks share: waiting for one's turn, holding several, keeping one by renewal."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from doorbuster.kernel.errors import Busy, Overloaded
from doorbuster.platform.locks.port import LEASE_MS, Locks, certain_ms

WAIT_S = 5.0
PAUSE_S = 0.002
PAUSE_MAX_S = 0.05
QUEUE_MAX = 1_000
"""How many of this process may queue for one lock."""
RENEWALS = 3
"""In one lease: two may fail before it is lost."""


class _Queue:
    def __init__(self) -> None:
        self.turn, self.length = asyncio.Lock(), 0


class Lock:
    """One that is held. `sure()` is worth asking before anything that the token does not protect."""

    def __init__(self, locks: Locks, name: str, owner: str, token: int, sure_until_s: float) -> None:
        self._locks, self._sure_until_s = locks, sure_until_s
        self.name, self.owner, self.token = name, owner, token
        self.lost = asyncio.Event()

    def sure(self) -> bool:
        """Whether nobody else can have it yet: by this process's clock, without asking."""
        return not self.lost.is_set() and time.monotonic() < self._sure_until_s

    async def renew(self) -> bool:
        """Raises Unavailable: it may still be ours until the lease ends."""
        asked_s = time.monotonic()
        if not await self._locks.renew(self.name, self.owner):
            self.lost.set()
            return False
        self._sure_until_s = asked_s + certain_ms(self._locks.lease_ms) / 1000
        return True

    async def release(self) -> bool:
        self.lost.set()
        return await self._locks.release(self.name, self.owner)


class Holding(ABC):
    """Base of the engines."""

    def __init__(self, lease_ms: int = LEASE_MS) -> None:
        self.lease_ms = lease_ms
        self._queues: dict[str, _Queue] = {}

    @abstractmethod
    async def take(self, name: str, owner: str, lease_ms: int | None = None) -> int: ...
    @abstractmethod
    async def renew(self, name: str, owner: str, lease_ms: int | None = None) -> bool: ...
    @abstractmethod
    async def release(self, name: str, owner: str) -> bool: ...

    @asynccontextmanager
    async def holding(self, names: Sequence[str]) -> AsyncGenerator[dict[str, int]]:
        """All of these locks, taken in the order given, with their tokens. Raises Overloaded, Unavailable."""
        owner = secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            tokens: dict[str, int] = {}
            for name in names:
                await stack.enter_async_context(self._in_turn(name))
                stack.push_async_callback(self._let_go, name, owner)
                tokens[name] = await self._wait_for(name, owner)
            yield tokens

    @asynccontextmanager
    async def keeping(self, name: str) -> AsyncGenerator[Lock]:
        """One lock, renewed for as long as it takes; `lost` is set when that fails. Raises Overloaded, Unavailable."""
        owner = secrets.token_hex(8)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._in_turn(name))
            stack.push_async_callback(self._let_go, name, owner)
            token = await self._wait_for(name, owner)
            # Sure of nothing yet: when the last question was asked is not known here.
            lock = Lock(self, name, owner, token, 0.0)
            if not await lock.renew():
                raise Overloaded("the lock was lost as soon as it was had")
            renewing = asyncio.create_task(self._renew(lock), name=f"lock-{name}")
            try:
                yield lock
            finally:
                renewing.cancel()
                await asyncio.wait([renewing])

    async def _renew(self, lock: Lock) -> None:
        try:
            while not lock.lost.is_set():
                await asyncio.sleep(self.lease_ms / 1000 / RENEWALS)
                with contextlib.suppress(Busy):  # the next one may work, as long as we may be sure
                    await lock.renew()
                if not lock.sure():
                    return
        finally:
            lock.lost.set()

    @asynccontextmanager
    async def _in_turn(self, name: str) -> AsyncGenerator[None]:
        """One of this process at a time asks, in order of arrival; the others do not poll. Raises Overloaded."""
        queue = self._queues.setdefault(name, _Queue())
        if queue.length >= QUEUE_MAX:
            raise Overloaded("too many wait for the same lock")
        queue.length += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[name]

    async def _wait_for(self, name: str, owner: str) -> int:
        end_s = time.monotonic() + WAIT_S
        pause_s = PAUSE_S
        while not (token := await self.take(name, owner)):
            if time.monotonic() > end_s:
                raise Overloaded("too many wait for the same lock")
            await asyncio.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        return token

    async def _let_go(self, name: str, owner: str) -> None:
        with contextlib.suppress(Busy):  # its lease releases it
            await self.release(name, owner)
