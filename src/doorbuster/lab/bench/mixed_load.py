"""A mix of requests, sent when they are due whatever became of the ones before, or as fast as they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from msgspec import Struct

from doorbuster.lab.stampede.connection import Exchange, RawHeaders
from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.lanes import LaneLimits, Lanes
from doorbuster.lab.stampede.latency import Latency
from doorbuster.lab.stampede.target import Target, parse_target
from doorbuster.lab.stampede.wire import ClaimWriter

CONNECTIONS = 256
CLOSED_CONNECTIONS = 64
WAITING_MAX = 256
"""Requests that wait for a connection in the generator. More would only be older when they are sent."""
DEADLINE_S = 1.0
"""From when a request was due. What is answered later is no use to anybody."""
NAP_S, BURST_MAX = 0.001, 64

CLAIMS, PAYING, ANALYTICS = 0.40, 0.02, 0.10
"""Shares of the mix; the rest looks at the sale. `/readyz` (a transaction) stands for the class of payments,
`/problems/overloaded` for that of analytics: the server of the bench has no books."""


class Phase(Struct, frozen=True):
    """What became of one load. Answers by status; `not_sent` waited for a connection until their deadline."""

    offered_per_s: float
    sent_per_s: float
    goodput_per_s: float
    """Durable claims answered 201 within DEADLINE_S of when they were due."""
    answered_per_s: float
    """All answers below 400."""
    refused: int
    not_sent: int
    failed: int
    p50_ms: float
    p99_ms: float
    """Of claims that were answered 201, from sending to answer."""
    due_p99_ms: float
    """The same from when they were due: with what they waited for in the generator."""
    refusal_p50_ms: float
    last_refusal_s: float
    """After the beginning; 0 if nobody was refused."""
    classes: dict[str, dict[str, int]]


class MixedLoad:
    def __init__(self, base_url: str, sale_id: str, tokens: Sequence[str], dice: random.Random) -> None:
        self._target: Target = parse_target(base_url)
        self._writer = ClaimWriter(self._target, sale_id, 1)
        self._tokens = tokens
        self._dice = dice
        self._claims = 0
        self._gets = {
            name: f"GET {path} HTTP/1.1\r\nhost: {self._target.host_header}\r\n\r\n".encode()
            for name, path in (
                ("pay", "/readyz"),
                ("browse", f"/v1/sales/{sale_id}"),
                ("analytics", "/problems/overloaded"),
            )
        }

    async def closed(self, seconds: float) -> Phase:
        """CLOSED_CONNECTIONS that each send the next request when the last one is answered."""
        limits = LaneLimits(CLOSED_CONNECTIONS, CLOSED_CONNECTIONS, timeout_s=10.0)
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(CLOSED_CONNECTIONS)
            run = _Run()
            run.again = lambda: lanes.submit(self._next(run, time.monotonic()))
            for _ in range(CLOSED_CONNECTIONS):
                run.again()
            await asyncio.sleep(seconds)
            run.again = None
            phase = run.phase(seconds, 0.0)
            await run.finished(DEADLINE_S * 10)
        return phase

    async def open(self, per_s: float, seconds: float) -> Phase:
        limits = LaneLimits(CONNECTIONS, WAITING_MAX, timeout_s=5.0, wait_s=DEADLINE_S)
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(CONNECTIONS)
            run = _Run()
            await self._pace(run, lanes, per_s, seconds)
            lasted_s = time.monotonic() - run.begun_s
            await run.finished(5.0 + 2 * DEADLINE_S)
        return run.phase(lasted_s, per_s)

    async def _pace(self, run: _Run, lanes: Lanes, per_s: float, seconds: float) -> None:
        due_s, burst = 0.0, 0
        while (due_s := due_s + self._dice.expovariate(per_s)) < seconds:
            due_at = run.begun_s + due_s
            now = time.monotonic()
            if now < due_at:
                await asyncio.sleep(max(NAP_S, due_at - now))
                burst = 0
            elif (burst := burst + 1) >= BURST_MAX:
                burst = 0
                await asyncio.sleep(0)
                if now - run.begun_s > seconds:
                    return  # the generator itself cannot do more: `sent_per_s` tells
            lanes.submit(self._next(run, due_at))

    def _next(self, run: _Run, due_at: float) -> _Request:
        lot = self._dice.random()
        if lot < CLAIMS:
            self._claims += 1
            token = self._tokens[self._claims % len(self._tokens)]
            return _Request(run, "claim", self._writer.request(token, f"{self._claims:x}"), due_at)
        name = "pay" if lot < CLAIMS + PAYING else "analytics" if lot < CLAIMS + PAYING + ANALYTICS else "browse"
        return _Request(run, name, self._gets[name], due_at)


class _Run:
    def __init__(self) -> None:
        self.begun_s = time.monotonic()
        self.again: Callable[[], None] | None = None
        self.sent = self.under_way = self.good = 0
        self.admitted, self.due, self.refusals = Latency(), Latency(), Latency()
        self.last_refusal_s = 0.0
        self.outcomes: dict[str, Counter[str]] = {}

    async def finished(self, wait_s_max: float) -> None:
        """Until every request has its outcome. Raises TimeoutError."""
        async with asyncio.timeout(wait_s_max):
            while self.under_way:
                await asyncio.sleep(0.01)

    def count(self, name: str, outcome: str) -> None:
        self.under_way -= 1
        self.outcomes.setdefault(name, Counter())[outcome] += 1
        if self.again is not None:
            self.again()

    def phase(self, seconds: float, per_s: float) -> Phase:
        total = sum(self.outcomes.values(), Counter[str]())
        answered = sum(number for outcome, number in total.items() if outcome in ("200", "201"))
        not_sent = total[Failure.NO_CONNECTION.value] + total[Failure.QUEUE_FULL.value]
        p50, p99 = self.admitted.percentiles_ms(50.0, 99.0)
        return Phase(
            per_s or answered / seconds,
            self.sent / seconds,
            self.good / seconds,
            answered / seconds,
            total["503"],
            not_sent,
            sum(total.values()) - answered - total["503"] - not_sent,
            p50,
            p99,
            self.due.percentiles_ms(99.0)[0],
            self.refusals.percentiles_ms(50.0)[0],
            self.last_refusal_s,
            {name: dict(outcomes) for name, outcomes in sorted(self.outcomes.items())},
        )


class _Request(Exchange):
    __slots__ = ("_name", "_payload", "_run")

    def __init__(self, run: _Run, name: str, payload: bytes, due_at: float) -> None:
        super().__init__(due_at)
        self._run, self._name, self._payload = run, name, payload
        run.under_way += 1

    def payload(self) -> bytes:
        self._run.sent += 1
        return self._payload

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        run, now = self._run, time.monotonic()
        if status == 201:
            run.admitted.record(now - self.sent_at)
            run.due.record(now - self.due_at)
            run.good += now - self.due_at <= DEADLINE_S
        elif status == 503:
            run.refusals.record(now - self.sent_at)
            run.last_refusal_s = max(run.last_refusal_s, now - run.begun_s)
        run.count(self._name, str(status))

    def on_failure(self, failure: Failure) -> None:
        self._run.count(self._name, failure.value)
