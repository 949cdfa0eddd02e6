"""What a thousand slow clients do to the others: a steady load of claims, without them and with them, in turn."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from statistics import median
from typing import ClassVar
from urllib.parse import urlsplit

from msgspec import Struct

from doorbuster.lab.bench.crowd import tokens_for
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.messages import ServerPlan
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.server_process import bench_server
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table import circumstances
from doorbuster.lab.demo.shop_process import ShopFailed
from doorbuster.lab.stampede.connection import Exchange, RawHeaders
from doorbuster.lab.stampede.errors import Failure
from doorbuster.lab.stampede.lanes import LaneLimits, Lanes
from doorbuster.lab.stampede.latency import Latency
from doorbuster.lab.stampede.target import parse_target
from doorbuster.lab.stampede.wire import ClaimWriter
from doorbuster.platform.settings.keys import Key

CONNECTIONS = 64
TIMEOUT_S = 10.0
WAITING_MAX = 65_536
"""Claims that wait for a connection: they count from when they were due."""
READY_S = 60.0
SETTLE_S = 1.0


class Windows(Struct, frozen=True):
    """Medians over the rounds, from when a claim was due."""

    p50_ms: float
    p99_ms: float


class SlowClientsReport(Measured, frozen=True, kw_only=True):
    """`p99_ratio`: the p99 beside slow clients to that of the same round without them, the median of the rounds.
    1.2 means a fifth more."""

    name: ClassVar[str] = "slow-clients"
    clients: int
    per_s: float
    p99_ratio: float
    p50_ratio: float
    alone: Windows
    beside: Windows
    p99_ratios: Sequence[float]

    def table(self) -> str:
        found = self.as_json()
        rows = [f"  {name:7} {found[name]['p50_ms']:8.2f} {found[name]['p99_ms']:8.2f}" for name in ("alone", "beside")]
        return "\n".join(
            [
                f"{self.per_s:g} claims a second, alone and beside {self.clients} slow clients (head, body, reading)",
                f"  {'':7} {'p50 ms':>8} {'p99 ms':>8}",
                *rows,
                f"  p99: {self.p99_ratio:.2f} times ({', '.join(f'{each:.2f}' for each in self.p99_ratios)})",
                "",
                *circumstances(found),
            ]
        )


async def measure_slow_clients(
    stores: Stores, clients: int, per_s: float, seconds: float, rounds: int, command: str, say: Callable[[str], None]
) -> SlowClientsReport:
    """Raises ShopFailed."""
    machine, key = describe_machine(), Key.generate()
    tokens = tokens_for(key, seconds)
    ratios: list[tuple[float, float]] = []
    measured: dict[str, list[Windows]] = {"alone": [], "beside": []}
    others: Counter[str] = Counter()
    async with (
        stores.fresh("sqlite") as settings,
        bench_server(ServerPlan("none", settings, key.render(), "full")) as server,
    ):
        for number in range(rounds):
            alone = await _window(server.base_url, await server.new_sale(), tokens, per_s, seconds, others)
            async with _slow(server.base_url, clients):
                await asyncio.sleep(SETTLE_S)
                beside = await _window(server.base_url, await server.new_sale(), tokens, per_s, seconds, others)
            measured["alone"].append(alone)
            measured["beside"].append(beside)
            ratios.append((beside.p50_ms / alone.p50_ms, beside.p99_ms / alone.p99_ms))
            say(f"round {number + 1}: p99 {alone.p99_ms:.2f} ms alone, {beside.p99_ms:.2f} ms beside them")
    return SlowClientsReport(
        machine=machine,
        command=command,
        breaches=[f"{count} answers were {kind}" for kind, count in others.items()],
        clients=clients,
        per_s=per_s,
        p50_ratio=median(each[0] for each in ratios),
        p99_ratio=median(each[1] for each in ratios),
        alone=_medians(measured["alone"]),
        beside=_medians(measured["beside"]),
        p99_ratios=[each[1] for each in ratios],
    )


def _medians(windows: Sequence[Windows]) -> Windows:
    return Windows(median(each.p50_ms for each in windows), median(each.p99_ms for each in windows))


@asynccontextmanager
async def _slow(base_url: str, clients: int) -> AsyncGenerator[None]:
    """All of them connected. Raises ShopFailed."""
    at = urlsplit(base_url)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "doorbuster.lab.bench.slowness", str(at.hostname), str(at.port), str(clients)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        async with asyncio.timeout(READY_S):
            if not await process.stdout.readline():
                raise ShopFailed("the slow clients did not start")
        yield
    finally:
        process.stdin.close()
        await process.wait()


async def _window(
    base_url: str, sale_id: str, tokens: Sequence[str], per_s: float, seconds: float, others: Counter[str]
) -> Windows:
    """Claims that are due at a steady pace, whatever became of the ones before."""
    target = parse_target(base_url)
    latency = Latency()
    async with Lanes(target, LaneLimits(CONNECTIONS, WAITING_MAX, timeout_s=TIMEOUT_S)) as lanes:
        await lanes.warm(CONNECTIONS)
        writer = ClaimWriter(target, sale_id, 1)
        under_way: list[_Claim] = []
        begun_s = time.monotonic()
        for number in range(int(per_s * seconds)):
            due_s = begun_s + number / per_s
            if (left_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            under_way.append(_Claim(due_s, writer.request(tokens[number % len(tokens)], f"{number:x}")))
            lanes.submit(under_way[-1])
        async with asyncio.timeout(2 * TIMEOUT_S):
            for claim in under_way:
                await claim.done.wait()
    for claim in under_way:
        if claim.outcome == "201":
            latency.record(claim.took_s)
        else:
            others[claim.outcome] += 1
    return Windows(*latency.percentiles_ms(50.0, 99.0))


class _Claim(Exchange):
    __slots__ = ("_payload", "done", "outcome", "took_s")

    def __init__(self, due_s: float, payload: bytes) -> None:
        super().__init__(due_s)
        self._payload = payload
        self.done = asyncio.Event()
        self.outcome, self.took_s = "", 0.0

    def payload(self) -> bytes:
        return self._payload

    def on_reply(self, status: int, headers: RawHeaders, body: bytes) -> None:  # noqa: ARG002 - the signature is Exchange's
        self.outcome, self.took_s = str(status), time.monotonic() - self.due_at
        self.done.set()

    def on_failure(self, failure: Failure) -> None:
        self.outcome = failure.value
        self.done.set()
