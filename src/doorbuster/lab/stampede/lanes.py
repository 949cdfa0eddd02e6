"""The pool of connections under the generator and the plain client: bounded, with a bounded queue in front.

What happens at each bound is told to the request itself (`Failure`), never swallowed:
queue full -> QUEUE_FULL at once; no connection within `wait_s` -> NO_CONNECTION; no reply within
`timeout_s` of sending -> TIMEOUT and the connection is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from types import TracebackType
from typing import Self

import msgspec

from .connection import Connection, Exchange, HeaderConnection
from .errors import Failure, UnreachableError
from .target import Target

SWEEP_S_MAX = 0.05  # how late a timeout may be noticed
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.05, 1.0  # pause after a failed connect, doubling


class LaneLimits(msgspec.Struct, frozen=True):
    """Bounds of a pool. `timeout_s` runs from sending, `wait_s` from the due time until sending."""

    connections: int = 64
    waiting: int = 1024
    timeout_s: float = 5.0
    wait_s: float = 3.0
    connect_timeout_s: float = 5.0
    reply_bytes_max: int = 16 * 1024 * 1024


class Lanes:
    """An async context manager; everything it started has ended when the block is left."""

    def __init__(self, target: Target, limits: LaneLimits, *, keep_headers: bool = False) -> None:
        self.target, self.limits = target, limits
        self.reply_bytes_max = limits.reply_bytes_max
        self._kind = HeaderConnection if keep_headers else Connection
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []  # a stack: few warm connections rather than many cold ones
        self._waiting: deque[Exchange] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._closed = False
        self._last_error = "no connection was tried"
        self._pause_s = RECONNECT_S_MIN
        self._open_again_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._schedule_sweep()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def in_flight(self) -> int:
        """Requests sent and not answered."""
        return len(self._all) - len(self._idle)

    @property
    def queued(self) -> int:
        """Requests waiting for a connection."""
        return len(self._waiting)

    async def warm(self, count: int) -> None:
        """Opens up to `count` connections. Raises `UnreachableError` if not a single one could be opened."""
        for _ in range(min(count, self.limits.connections) - len(self._all) - len(self._opening)):
            self._spawn_open()
        if self._opening:
            await asyncio.wait(self._opening)
        if not self._all:
            raise UnreachableError(self.target.host, self.target.port, self._last_error)

    def submit(self, exchange: Exchange, avoid: Connection | None = None) -> None:
        """Sends now, or queues, or fails the exchange at once.

        `avoid`: a connection not to use while there may be another one (for double clicks).
        """
        if self._closed:
            return exchange.on_failure(Failure.CLOSED)
        connection = self._take(avoid)
        if connection is not None:
            return connection.start(exchange)
        if len(self._waiting) >= self.limits.waiting:
            return exchange.on_failure(Failure.QUEUE_FULL)
        self._waiting.append(exchange)
        self._open_more()
        return None

    def withdraw(self, exchange: Exchange) -> None:
        """Forgets a request nobody waits for any longer; if it was sent, its connection is dropped."""
        connection = exchange.connection
        if connection is not None and connection.exchange is exchange:
            connection.fail(Failure.LOST)
            return
        with contextlib.suppress(ValueError):  # already answered
            self._waiting.remove(exchange)

    async def close(self) -> None:
        """Fails what waits with CLOSED, what is in flight with LOST; awaits the connects under way."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        while self._waiting:
            self._waiting.popleft().on_failure(Failure.CLOSED)
        for connection in tuple(self._all):
            connection.fail(Failure.LOST)
        await asyncio.sleep(0)  # lets the transports report their end

    # told by connections

    def joined(self, connection: Connection) -> None:
        """A connection is open."""
        self._all.add(connection)
        self._pause_s = RECONNECT_S_MIN
        self.freed(connection)

    def freed(self, connection: Connection) -> None:
        """A connection is idle: the oldest waiting request gets it."""
        if self._waiting and connection.usable:
            connection.start(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def gone(self, connection: Connection) -> None:
        """A connection has ended; may be told twice."""
        if connection not in self._all:
            return
        self._all.discard(connection)
        with contextlib.suppress(ValueError):  # it was busy
            self._idle.remove(connection)
        if self._waiting and not self._closed:
            self._open_more()

    # inside

    def _take(self, avoid: Connection | None) -> Connection | None:
        idle = self._idle
        if avoid is not None and idle and idle[-1] is avoid:
            if len(idle) > 1:
                idle[-1], idle[-2] = idle[-2], idle[-1]
            elif self._room() > 0:
                return None
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    def _room(self) -> int:
        return self.limits.connections - len(self._all) - len(self._opening)

    def _open_more(self) -> None:
        if time.monotonic() < self._open_again_at:
            return
        for _ in range(min(len(self._waiting) - len(self._opening), self._room())):
            self._spawn_open()

    def _spawn_open(self) -> None:
        task = asyncio.get_running_loop().create_task(self._open())
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.limits.connect_timeout_s):
                await loop.create_connection(lambda: self._kind(self), self.target.host, self.target.port)
        except (OSError, TimeoutError) as error:
            self._last_error = str(error) or type(error).__name__
            if time.monotonic() >= self._open_again_at:  # a whole volley that fails counts once
                self._open_again_at = time.monotonic() + self._pause_s
                self._pause_s = min(RECONNECT_S_MAX, 2 * self._pause_s)

    def _schedule_sweep(self) -> None:
        limits = self.limits
        interval_s = min(SWEEP_S_MAX, limits.timeout_s / 4, limits.wait_s / 4)
        self._timer = asyncio.get_running_loop().call_later(interval_s, self._sweep)

    def _sweep(self) -> None:
        now = time.monotonic()
        self._schedule_sweep()
        for connection in tuple(self._all):
            exchange = connection.exchange
            if exchange is not None and now - exchange.sent_at > self.limits.timeout_s:
                connection.fail(Failure.TIMEOUT)
        while self._waiting and now - self._waiting[0].due_at > self.limits.wait_s:
            self._waiting.popleft().on_failure(Failure.NO_CONNECTION)
        while self._waiting and (connection := self._take(None)) is not None:
            connection.start(self._waiting.popleft())
        if self._waiting:
            self._open_more()
