"""What became of the requests of one load."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable

from msgspec import Struct

from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.latency import Latency

DEADLINE_S = 1.0
"""From when a request was due. What is answered later is no use to anybody."""
STEP_S = 0.5
"""How finely it is looked at when things went well again."""
WELL = 0.95
"""The share of requests that go well in normal times."""


class Phase(Struct, frozen=True):
    """Latencies are from when a request was due. Answers by status; `not_sent` waited for a connection until their
    deadline. `goodput_per_s`: answers below 400 within DEADLINE_S. `work`: the same in processor time, each kind of
    request at what it costs without load, per second. `server_cores`, `generator_cores`: what they used of a core."""

    load_average: float
    offered_per_s: float
    sent_per_s: float
    goodput_per_s: float
    work: float
    refused: int
    late: int
    not_sent: int
    failed: int
    p50_ms: float
    p99_ms: float
    refusal_p50_ms: float
    refusal_p99_ms: float
    server_cores: float
    generator_cores: float
    kinds: dict[str, dict[str, int]]


class Run:
    """Counts while it goes on."""

    def __init__(self, server_cpu_s: Callable[[], float], per_s: float = 0.0) -> None:
        self._meter = server_cpu_s
        self._server_cpu_s = server_cpu_s()
        self.begun_s = time.monotonic()
        self.again: Callable[[], None] | None = None
        self.sent = self.under_way = self.late = 0
        self.good: Counter[str] = Counter()
        self.served, self.refusals = Latency(), Latency()
        self.outcomes: dict[str, Counter[str]] = {}
        self.seconds = 0.0
        self._per_s = per_s
        self._cpu_s = time.process_time()
        self._steps: list[tuple[int, bool, float]] = []

    def end(self) -> None:
        """Nothing is sent any more."""
        self.seconds = time.monotonic() - self.begun_s
        self._cpu_s = time.process_time() - self._cpu_s
        self._server_cpu_s = self._meter() - self._server_cpu_s

    async def finished(self, wait_s_max: float) -> None:
        """Until every request has its outcome. Raises TimeoutError."""
        async with asyncio.timeout(wait_s_max):
            while self.under_way:
                await asyncio.sleep(0.01)

    def answered(self, kind: str, status: int, due_at: float, now: float) -> None:
        took_s = now - due_at
        if status in (200, 201):
            self.served.record(took_s)
            if took_s <= DEADLINE_S:
                self.good[kind] += 1
            else:
                self.late += 1
            self._steps.append((int((due_at - self.begun_s) / STEP_S), True, took_s))
        else:
            self._steps.append((int((due_at - self.begun_s) / STEP_S), False, took_s))
        if status == 503:
            self.refusals.record(took_s)
        self._count(kind, str(status))

    def failed(self, kind: str, failure: Failure, due_at: float) -> None:
        self._steps.append((int((due_at - self.begun_s) / STEP_S), False, 0.0))
        self._count(kind, failure.value)

    def _count(self, kind: str, outcome: str) -> None:
        self.under_way -= 1
        self.outcomes.setdefault(kind, Counter())[outcome] += 1
        if self.again is not None:
            self.again()

    def well_after_s(self, took_s_max: float) -> float:
        """From when on, after the beginning, WELL of what was due was served within that time, until the end."""
        due: Counter[int] = Counter(step for step, _, _ in self._steps)
        well: Counter[int] = Counter(step for step, served, took_s in self._steps if served and took_s <= took_s_max)
        bad = [step for step, number in due.items() if well[step] < WELL * number]
        return (max(bad) + 1) * STEP_S if bad else 0.0

    def phase(self, cost_us: dict[str, float]) -> Phase:
        total = sum(self.outcomes.values(), Counter[str]())
        answered = total["200"] + total["201"]
        not_sent = total[Failure.NO_CONNECTION.value] + total[Failure.QUEUE_FULL.value]
        p50, p99 = self.served.percentiles_ms(50.0, 99.0)
        refusal_p50, refusal_p99 = self.refusals.percentiles_ms(50.0, 99.0)
        return Phase(
            round(os.getloadavg()[0], 2),
            self._per_s or answered / self.seconds,
            self.sent / self.seconds,
            self.good.total() / self.seconds,
            sum(number * cost_us.get(kind, 0.0) for kind, number in self.good.items()) / 1e6 / self.seconds,
            total["503"],
            self.late,
            not_sent,
            total.total() - answered - total["503"] - not_sent,
            p50,
            p99,
            refusal_p50,
            refusal_p99,
            self._server_cpu_s / self.seconds,
            self._cpu_s / self.seconds,
            {kind: dict(outcomes) for kind, outcomes in sorted(self.outcomes.items())},
        )
