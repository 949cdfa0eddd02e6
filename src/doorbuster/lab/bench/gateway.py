"""What the gateway costs: the same claims on the same server without a store, behind the door alone, behind a gateway
that does nothing, and behind one with token, limit, log sample and shedding."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import ClassVar

from msgspec import Struct

from doorbuster.lab.bench.closed_loop import Window, claim_for
from doorbuster.lab.bench.crowd import tokens_for
from doorbuster.lab.bench.machine import Machine, describe_machine
from doorbuster.lab.bench.messages import Front, ServerPlan
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.server_process import ServerProcess, bench_server
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table import circumstances
from doorbuster.platform.settings.keys import Key

FRONTS: tuple[Front, ...] = ("door", "empty", "full")


class FrontFigures(Struct, frozen=True):
    """Medians over the rounds; `cpu_us` is processor time of the server per request."""

    per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float


class GatewayReport(Measured, frozen=True, kw_only=True):
    """Requests per second behind the gateway to those behind the door alone, round by round, and the same from
    processor time, which a busy machine disturbs less. 0.9 means that the gateway costs a tenth.

    `breaches` are answers that were not what the bench had asked for: the figures are void.
    """

    name: ClassVar[str] = "gateway"
    empty_ratio: float
    full_ratio: float
    empty_cpu_ratio: float
    full_cpu_ratio: float
    figures: Mapping[Front, FrontFigures]

    def table(self) -> str:
        found = self.as_json()
        rows = [
            f"  {front:6} {of['per_s']:8.0f} {of['cpu_us']:8.1f} {of['p50_ms']:8.2f} {of['p99_ms']:8.2f}"
            for front, of in found["figures"].items()
        ]
        return "\n".join(
            [
                "Claims on one server without a store, behind the door alone and behind a gateway",
                f"  {'front':6} {'per s':>8} {'cpu us':>8} {'p50 ms':>8} {'p99 ms':>8}",
                *rows,
                f"  empty / door: {found['empty_ratio']:.2f} by rate, {found['empty_cpu_ratio']:.2f} by processor time",
                f"  full / door:  {found['full_ratio']:.2f} by rate, {found['full_cpu_ratio']:.2f} by processor time",
                "",
                *circumstances(found),
            ]
        )


class _Round(Struct, frozen=True):
    window: Window
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.window.claims / self.window.seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.window.claims * 1e6


async def measure_gateway(
    stores: Stores, seconds: float, rounds: int, command: str, say: Callable[[str], None]
) -> GatewayReport:
    """`rounds` rounds of `seconds` for each front, in turn (door, empty, full, full, empty, door, ...), so that a noisy
    moment and whoever warms up the machine favour none of them."""
    machine = describe_machine()
    key = Key.generate()
    tokens = tokens_for(key, seconds)
    measured: dict[Front, list[_Round]] = {front: [] for front in FRONTS}
    breaches: list[str] = []
    async with AsyncExitStack() as stack:
        servers = {front: await stack.enter_async_context(_server(front, stores, key)) for front in FRONTS}
        for number in range(rounds):
            for front in FRONTS if number % 2 == 0 else reversed(FRONTS):
                done = await _measure(servers[front], seconds, tokens)
                measured[front].append(done)
                breaches += [f"{front}: {count} answers were {kind}" for kind, count in done.window.others.items()]
                say(f"{front:5} round {number + 1}: {done.per_s:7.0f}/s, {done.cpu_us:5.1f} µs per request")
    return _report(measured, breaches, machine, command)


@asynccontextmanager
async def _server(front: Front, stores: Stores, key: Key) -> AsyncGenerator[ServerProcess]:
    async with (
        stores.fresh("sqlite") as settings,
        bench_server(ServerPlan("none", settings, key.render(), front)) as server,
    ):
        yield server


async def _measure(server: ServerProcess, seconds: float, tokens: Sequence[str]) -> _Round:
    marks: list[float] = []

    async def mark() -> None:
        marks.append(await server.cpu_s())

    window = await claim_for(seconds, server.base_url, await server.new_sale(), tokens, mark)
    return _Round(window, marks[1] - marks[0])


def _report(
    measured: Mapping[Front, Sequence[_Round]], breaches: Sequence[str], machine: Machine, command: str
) -> GatewayReport:
    def ratio(front: Front, value: Callable[[_Round], float]) -> float:
        pairs = zip(measured[front], measured["door"], strict=True)
        return median(value(behind) / value(alone) for behind, alone in pairs)

    figures: dict[Front, FrontFigures] = {
        front: FrontFigures(
            median(done.per_s for done in done_rounds),
            median(done.cpu_us for done in done_rounds),
            median(done.window.p50_ms for done in done_rounds),
            median(done.window.p99_ms for done in done_rounds),
        )
        for front, done_rounds in measured.items()
    }
    return GatewayReport(
        machine=machine,
        command=command,
        breaches=breaches,
        empty_ratio=ratio("empty", lambda done: done.per_s),
        full_ratio=ratio("full", lambda done: done.per_s),
        empty_cpu_ratio=ratio("empty", lambda done: 1 / done.cpu_us),
        full_cpu_ratio=ratio("full", lambda done: 1 / done.cpu_us),
        figures=figures,
    )
