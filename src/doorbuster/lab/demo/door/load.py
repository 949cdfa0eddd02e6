"""The crowd's requests: as fast as they are answered, to measure; then so many a second, whatever becomes of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from doorbuster.lab.demo.door.cast import CHEATS, PATIENCE_MS, Cast, Kind, Visitor
from doorbuster.lab.stampede.connection import Exchange, RawHeaders
from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.lanes import LaneLimits, Lanes
from doorbuster.lab.stampede.latency import Latency
from doorbuster.lab.stampede.target import Target
from doorbuster.lab.stampede.wire import problem_slug

CLOSED_CONNECTIONS = 64
CONNECTIONS_MIN, CONNECTIONS_MAX, CONNECTIONS_S = 256, 2_048, 0.5
"""Of an open load: as many as the capacity answers in half a second."""
WAITING_MAX = 128
"""Requests that wait for a connection here; more would only be older when they are sent."""
PATIENCE_S = PATIENCE_MS / 1000
NAP_S, BEHIND_S_MAX = 0.002, 0.05
"""What this generator is later than that with, it does not send: `sent` says how much it did."""

_ADMISSION = b'"admission":"'
Admitted = Callable[[Visitor], None]


class Counts(Struct):
    """From the beginning of a load. `good`: what a person asked for and got within PATIENCE_S of asking."""

    sent: int = 0
    good: int = 0
    answered: int = 0
    not_sent: int = 0
    unanswered: int = 0
    refused: Counter[str] = Counter()
    people_limited: int = 0
    bots_limited: int = 0
    cheats: int = 0
    """Claims of bots without an admission of their own, by any way..."""
    stolen: int = 0
    """...and those of them that were acknowledged."""


class Load:
    """`counts` and `latency` grow while it runs; latencies are of what people got."""

    def __init__(self, cast: Cast, target: Target, on_admission: Admitted) -> None:
        self.counts = Counts(refused=Counter())
        self.latency, self._recent = Latency(), Latency()
        self._cast, self._target, self._on_admission = cast, target, on_admission
        self._under_way = 0
        self._again: Callable[[], None] | None = None

    async def closed(self, seconds: float) -> float:
        """CLOSED_CONNECTIONS that each send the next request when the last one is answered. Seconds it took."""
        limits = LaneLimits(CLOSED_CONNECTIONS, CLOSED_CONNECTIONS, timeout_s=5.0)
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(CLOSED_CONNECTIONS)
            begun_s = time.monotonic()
            self._again = lambda: self._send(lanes)
            for _ in range(CLOSED_CONNECTIONS):
                self._send(lanes)
            await asyncio.sleep(seconds)
            self._again = None
            took_s = time.monotonic() - begun_s
            await self._ended(5.0)
        return took_s

    async def open(self, per_s: float, capacity_per_s: float, over: asyncio.Event, at_most_s: float) -> float:
        """`per_s` until `over` is set, or time is up. Seconds it took."""
        connections = min(CONNECTIONS_MAX, max(CONNECTIONS_MIN, int(capacity_per_s * CONNECTIONS_S)))
        limits = LaneLimits(connections, WAITING_MAX, timeout_s=2 * PATIENCE_S, wait_s=PATIENCE_S)
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(connections)
            begun_s = last_s = time.monotonic()
            owed = 0.0
            while not over.is_set() and last_s - begun_s < at_most_s:
                await asyncio.sleep(NAP_S)
                now_s = time.monotonic()
                owed += per_s * min(now_s - last_s, BEHIND_S_MAX)
                last_s = now_s
                for _ in range(int(owed)):
                    if lanes.queued < WAITING_MAX:
                        self._send(lanes)
                    else:
                        self.counts.not_sent += 1
                owed -= int(owed)
            took_s = last_s - begun_s
            await self._ended(3 * PATIENCE_S)
        return took_s

    def recent_p99_ms(self) -> float:
        """Of what people got since it was asked the last time."""
        recent, self._recent = self._recent, Latency()
        return recent.percentiles_ms(99.0)[0]

    async def _ended(self, wait_s: float) -> None:
        """What is left after that is ended with its connection, and counted as unanswered."""
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while self._under_way:
                    await asyncio.sleep(0.01)

    def _send(self, lanes: Lanes) -> None:
        visitor, kind, payload = self._cast.next()
        self._under_way += 1
        lanes.submit(_Visit(self, visitor, kind, payload))

    def took(self, visit: _Visit, status: int, body: bytes) -> None:
        counts, visitor, took_s = self.counts, visit.visitor, time.monotonic() - visit.due_at
        counts.answered += 1
        cheat = visit.kind in CHEATS
        counts.cheats += cheat
        if status < 300:
            counts.stolen += cheat
            if not visitor.bot:
                counts.good += took_s <= PATIENCE_S
                self.latency.record(took_s)
                self._recent.record(took_s)
            if visit.kind == "place" and not visitor.admission and _ADMISSION in body:
                visitor.admission = body.split(_ADMISSION, 1)[1].split(b'"', 1)[0].decode()
                self._on_admission(visitor)
        else:
            self._refused(visitor, status, body)
        self._finished()

    def _refused(self, visitor: Visitor, status: int, body: bytes) -> None:
        counts = self.counts
        if status == 503 and b'"slug":"overloaded"' in body:  # most of them: not worth more than a look
            counts.refused["overloaded"] += 1
            return
        counts.refused[problem_slug(status, body)] += 1
        if status == 429:
            counts.bots_limited += visitor.bot
            counts.people_limited += not visitor.bot

    def failed(self, failure: Failure) -> None:
        if failure.sent:
            self.counts.unanswered += 1
        else:
            self.counts.not_sent += 1
        self._finished()

    def _finished(self) -> None:
        self._under_way -= 1
        if self._again is not None:
            self._again()


class _Visit(Exchange):
    """One request on its way."""

    __slots__ = ("_load", "_payload", "kind", "visitor")

    def __init__(self, load: Load, visitor: Visitor, kind: Kind, payload: bytes) -> None:
        super().__init__(time.monotonic())
        self._load, self.visitor, self.kind, self._payload = load, visitor, kind, payload

    def payload(self) -> bytes:
        self._load.counts.sent += 1
        return self._payload

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        self._load.took(self, status, body)

    def on_failure(self, failure: Failure) -> None:
        self._load.failed(failure)
