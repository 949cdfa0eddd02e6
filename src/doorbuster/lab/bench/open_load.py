"""A mix of requests, sent when they are due whatever became of the ones before, or as fast as they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from doorbuster.lab.bench.phase import DEADLINE_S, Run
from doorbuster.lab.bench.shop_mix import ShopMix, Wish
from doorbuster.lab.stampede.connection import Exchange, RawHeaders
from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.lanes import LaneLimits, Lanes
from doorbuster.lab.stampede.target import Target, parse_target
from doorbuster.platform.http.server import connections_within

CONNECTIONS = 4_000
"""Of customers who each have one of their own: fewer would hold back what they are there to show."""
CLOSED_CONNECTIONS = 32
"""Enough to keep one core busy with group commits in it, and few enough that none waits for long."""
WAITING_MAX = 256
"""Requests that wait for a connection in the generator. More would only be older when they are sent."""
ANSWER_WITHIN_S = 5.0
NAP_S, BURST_MAX = 0.001, 64


class OpenLoad:
    """Of one mix on one server, whose processor time so far `server_cpu_s` tells."""

    def __init__(self, base_url: str, mix: ShopMix, dice: random.Random, server_cpu_s: Callable[[], float]) -> None:
        self._server_cpu_s = server_cpu_s
        self._target: Target = parse_target(base_url)
        self._mix = mix
        self._dice = dice

    async def closed(self, seconds: float, wish: Callable[[], Wish] | None = None) -> Run:
        """CLOSED_CONNECTIONS that each send the next request when the last one is answered; the mix, or `wish`."""
        wish = wish or self._mix.draw
        limits = LaneLimits(CLOSED_CONNECTIONS, CLOSED_CONNECTIONS, timeout_s=10.0)
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(CLOSED_CONNECTIONS)
            run = Run(self._server_cpu_s)
            run.again = lambda: lanes.submit(_Request(run, wish(), time.monotonic()))
            for _ in range(CLOSED_CONNECTIONS):
                run.again()
            await asyncio.sleep(seconds)
            run.again = None
            run.end()
            await run.finished(10.0)
        return run

    async def open(self, *loads: tuple[float, float]) -> list[Run]:
        """Loads of so many requests per second for so many seconds, one right after the other."""
        connections = connections_within(CONNECTIONS)
        limits = LaneLimits(connections, WAITING_MAX, timeout_s=ANSWER_WITHIN_S, wait_s=DEADLINE_S)
        runs: list[Run] = []
        async with Lanes(self._target, limits) as lanes:
            await lanes.warm(connections)
            for per_s, seconds in loads:
                runs.append(Run(self._server_cpu_s, per_s))
                await self._pace(runs[-1], lanes, per_s, seconds)
                runs[-1].end()
            for run in runs:
                await run.finished(ANSWER_WITHIN_S + 2 * DEADLINE_S)
        return runs

    async def _pace(self, run: Run, lanes: Lanes, per_s: float, seconds: float) -> None:
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
            lanes.submit(_Request(run, self._mix.draw(), due_at))


class _Request(Exchange):
    __slots__ = ("_run", "_wish")

    def __init__(self, run: Run, wish: Wish, due_at: float) -> None:
        super().__init__(due_at)
        self._run, self._wish = run, wish
        run.under_way += 1

    def payload(self) -> bytes:
        self._run.sent += 1
        return self._wish.payload

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        self._wish.answered(status, body)
        self._run.answered(self._wish.kind, status, self.due_at, time.monotonic())

    def on_failure(self, failure: Failure) -> None:
        self._wish.answered(0, b"")
        self._run.failed(self._wish.kind, failure, self.due_at)
