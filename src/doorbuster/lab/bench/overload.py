"""What is left of a server at ten times its load: capacity first, then an open load at multiples of it, then a lull."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from msgspec import Struct

from doorbuster.lab.bench.crowd import tokens_for
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.messages import ServerPlan
from doorbuster.lab.bench.mixed_load import MixedLoad, Phase
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.server_process import bench_server
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table import circumstances
from doorbuster.platform.settings.keys import Key

MULTIPLES = (1, 2, 5, 10)
UNLOADED, LULL = 0.1, 0.5
"""Shares of capacity: what counts as no load, and what comes after the overload."""
WARM_UP_S = 2.0
RECOVERY_S_MAX = 30.0
SEED = 1


class OverloadResult(Struct, frozen=True):
    """`goodput_ratio_10x`: durable claims in time per second, to the most at any load. `p99_ratio_10x`: of claims that
    were let in, from sending to answer, to that without load. `offered_10x`: how much of ten times the capacity the
    generator really sent, as a multiple; it shares the machine with the server."""

    capacity_per_s: float
    goodput_ratio_10x: float
    p99_ratio_10x: float
    refusal_p50_ms: float
    recovery_s: float
    offered_10x: float
    goodput_ratios: dict[str, float]
    p99_ratios: dict[str, float]
    unloaded: Phase
    loads: dict[str, Phase]
    lull: Phase


class OverloadReport(Measured, frozen=True, kw_only=True):
    name: ClassVar[str] = "overload"
    shedding: bool
    figures: OverloadResult

    def as_json(self) -> dict[str, Any]:
        """The figures stand beside the circumstances, not below a name."""
        content = super().as_json()
        return {name: of for name, of in content.items() if name != "figures"} | content["figures"]

    def table(self) -> str:
        found = self.figures
        lines = [
            f"Overload on SQLite, {'with' if self.shedding else 'without'} shedding: capacity "
            f"{found.capacity_per_s:.0f} requests/s of the mix",
            f"  {'load':>6} {'sent/s':>8} {'goodput/s':>10} {'refused':>8} {'p99 ms':>8} {'refusal ms':>11}",
        ]
        phases = {"0.1x": found.unloaded, **found.loads, "0.5x": found.lull}
        lines += [
            f"  {load:>6} {phase.sent_per_s:8.0f} {phase.goodput_per_s:10.0f} {phase.refused:8d} {phase.p99_ms:8.1f} "
            f"{phase.refusal_p50_ms:11.2f}"
            for load, phase in phases.items()
        ]
        lines += [
            f"  at 10x ({found.offered_10x:.1f}x was sent): goodput {found.goodput_ratio_10x:.0%} of peak, "
            f"p99 {found.p99_ratio_10x:.1f} times unloaded; recovered after {found.recovery_s:.1f} s",
            "",
            *circumstances(self.as_json()),
        ]
        return "\n".join(lines)


async def measure_overload(
    stores: Stores, seconds: float, shedding: bool, command: str, say: Callable[[str], None]
) -> OverloadReport:
    """`seconds` behind each load."""
    machine, key = describe_machine(), Key.generate()
    tokens = tokens_for(key, seconds)
    async with (
        stores.fresh("sqlite") as settings,
        bench_server(ServerPlan("sqlite", settings, key.render(), "door", shedding)) as server,
    ):
        load = MixedLoad(server.base_url, await server.new_sale(), tokens, random.Random(SEED))
        await load.closed(WARM_UP_S)
        capacity_per_s = (await load.closed(seconds)).answered_per_s
        say(f"capacity: {capacity_per_s:.0f} requests/s")
        unloaded = await load.open(capacity_per_s * UNLOADED, seconds)
        loads: dict[str, Phase] = {}
        for multiple in MULTIPLES:
            done = loads[f"{multiple}x"] = await load.open(capacity_per_s * multiple, seconds)
            say(f"{multiple}x: {done.sent_per_s:.0f}/s sent, {done.goodput_per_s:.0f} claims/s, {done.refused} refused")
        lull = await load.open(capacity_per_s * LULL, min(2 * seconds, RECOVERY_S_MAX))
    figures = _result(capacity_per_s, unloaded, loads, lull)
    return OverloadReport(
        machine=machine,
        command=command,
        breaches=_breaches([unloaded, *loads.values()]),
        shedding=shedding,
        figures=figures,
    )


def _result(capacity_per_s: float, unloaded: Phase, loads: dict[str, Phase], lull: Phase) -> OverloadResult:
    peak = max(phase.goodput_per_s for phase in loads.values())
    goodput = {load: phase.goodput_per_s / peak if peak else 0.0 for load, phase in loads.items()}
    p99 = {load: phase.p99_ms / unloaded.p99_ms if unloaded.p99_ms else 0.0 for load, phase in loads.items()}
    most = loads["10x"]
    return OverloadResult(
        capacity_per_s,
        goodput["10x"],
        p99["10x"],
        most.refusal_p50_ms,
        lull.last_refusal_s,
        most.sent_per_s / capacity_per_s,
        goodput,
        p99,
        unloaded,
        loads,
        lull,
    )


def _breaches(phases: Sequence[Phase]) -> list[str]:
    """Answers that no load explains: whatever was neither done nor refused as overloaded."""
    return [
        f"{name}: {count} answers were {outcome}"
        for phase in phases
        for name, outcomes in phase.classes.items()
        for outcome, count in outcomes.items()
        if outcome.isdigit() and outcome not in ("200", "201", "503")
    ]
