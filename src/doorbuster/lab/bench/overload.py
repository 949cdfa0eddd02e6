"""What is left of a shop at ten times its load: capacity first, then an open load at multiples of it, then a lull."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from doorbuster.lab.bench.cores import split_cores
from doorbuster.lab.bench.machine import describe_machine
from doorbuster.lab.bench.open_load import OpenLoad
from doorbuster.lab.bench.overload_shop import overload_shop, set_shedding
from doorbuster.lab.bench.phase import Phase, Run
from doorbuster.lab.bench.processes import cpu_s_of_family
from doorbuster.lab.bench.report import Measured
from doorbuster.lab.bench.shop_mix import SHARES, ShopMix
from doorbuster.lab.bench.stores import Stores
from doorbuster.lab.bench.table_of_overload import overload_table
from doorbuster.lab.demo.shop_process import ShopProcess
from doorbuster.lab.stampede.target import parse_target
from doorbuster.platform.shedding import SheddingSettings

MULTIPLES = (1, 2, 5, 10)
UNLOADED, LULL = 0.1, 0.5
"""Shares of capacity: what counts as no load, and what comes after the overload."""
WARM_UP_S = 2.0
ROUNDS = 2
"""Of finding the capacity: the better one counts, as others' work only ever takes away."""
SETTLE_STEP_S, SETTLE_STEPS_MAX, QUIET_CORES = 0.2, 50, 0.15
RECOVERY_S_MAX = 30.0
NORMAL_S_MIN = 0.05
SEED = 1
ONE_PLACE = {"enabled": True, "limit_min": 1, "limit_initial": 1, "limit_max": 1}
REFUSED_KIND = "sale"
COST_ORDER = ("cart", "quote", "order", "pay", "claim")
"""What needs the outcome of another comes after it; the rest in any order."""


class OverloadResult(Struct, frozen=True):
    """`goodput_ratio_10x`: answers in time per second, to the most at any load; `work_ratio_10x`: the same in processor
    time of what was done (a load of orders has fewer answers than one of looking at things). `p99_ratio_10x`: of
    requests that were served, from when they were due, to that without load. `offered_10x`: the multiple of the
    capacity that the generator really sent. `recovery_s`: from the end of the overload until 95 % of requests were
    served within twice the p99 without load. `refusal_share`: the cost of a refusal to that of a request of the mix,
    and `bound_10x` the goodput that this leaves of a core at ten times its capacity."""

    capacity_per_s: float
    goodput_ratio_10x: float
    work_ratio_10x: float
    p99_ratio_10x: float
    refusal_p50_ms: float
    recovery_s: float
    offered_10x: float
    request_us: float
    refusal_us: float
    refusal_share: float
    bound_10x: float
    cost_us: Mapping[str, float]
    goodput_ratios: Mapping[str, float]
    work_ratios: Mapping[str, float]
    p99_ratios: Mapping[str, float]
    phases: Mapping[str, Phase]


class OverloadReport(Measured, frozen=True, kw_only=True):
    name: ClassVar[str] = "overload"
    shedding: bool
    pinned: bool
    """Whether the server has a core of its own."""
    figures: OverloadResult

    def as_json(self) -> dict[str, Any]:
        """The figures stand beside the circumstances, not below a name."""
        content = super().as_json()
        return {name: of for name, of in content.items() if name != "figures"} | content["figures"]

    def table(self) -> str:
        return overload_table(self.as_json())


async def measure_overload(
    stores: Stores, seconds: float, shedding: Mapping[str, Any], command: str, say: Callable[[str], None]
) -> OverloadReport:
    """`seconds` behind each load; `shedding`: runtime settings of the server. Raises ShopFailed."""
    machine, dice = describe_machine(), random.Random(SEED)
    async with overload_shop(stores) as (shop, goods):
        mix = ShopMix(parse_target(shop.base_url), goods, dice)
        load = OpenLoad(shop.base_url, mix, dice, lambda: cpu_s_of_family(shop.process.pid) or 0.0)
        bench = _Bench(shop, mix, load, seconds, say)
        figures = await bench.measure(shedding)
    return OverloadReport(
        machine=machine,
        command=command,
        breaches=_breaches(figures.phases),
        shedding=bool(shedding.get("enabled")),
        pinned=split_cores() is not None,
        figures=figures,
    )


class _Bench:
    def __init__(
        self, shop: ShopProcess, mix: ShopMix, load: OpenLoad, seconds: float, say: Callable[[str], None]
    ) -> None:
        self._shop, self._mix, self._load, self._seconds, self._say = shop, mix, load, seconds, say
        self._cost_us: dict[str, float] = {}
        self._request_us = self._refusal_us = 0.0

    async def measure(self, shedding: Mapping[str, Any]) -> OverloadResult:
        seconds = self._seconds
        await self._load.closed(min(seconds, WARM_UP_S))
        await self._settle()
        await self._measure_costs()
        rounds = [await self._timed(self._load.closed(seconds)) for _ in range(ROUNDS)]
        best, cpu_s = max(rounds, key=lambda of: of[0].phase({}).offered_per_s)
        capacity_per_s = best.phase({}).offered_per_s
        self._request_us = cpu_s / (capacity_per_s * best.seconds) * 1e6
        self._say(f"capacity: {capacity_per_s:.0f} requests/s of {self._request_us:.0f} us")
        await self._measure_refusals()
        await set_shedding(self._shop, msgspec.structs.asdict(SheddingSettings()) | dict(shedding))
        phases: dict[str, Phase] = {}
        for multiple in (UNLOADED, *MULTIPLES[:-1]):
            (run,) = await self._load.open((capacity_per_s * multiple, seconds))
            self._note(phases, f"{multiple:g}x", run)
            await self._settle()
        most = (capacity_per_s * MULTIPLES[-1], seconds)
        run, lull = await self._load.open(most, (capacity_per_s * LULL, min(2 * seconds, RECOVERY_S_MAX)))
        self._note(phases, f"{MULTIPLES[-1]}x", run)
        self._note(phases, "lull", lull)
        normal_s = max(NORMAL_S_MIN, 2 * phases[f"{UNLOADED:g}x"].p99_ms / 1000)
        return self._result(capacity_per_s, phases, lull.well_after_s(normal_s))

    def _note(self, phases: dict[str, Phase], name: str, run: Run) -> None:
        done = phases[name] = run.phase(self._cost_us)
        self._say(
            f"{name}: {done.sent_per_s:.0f}/s sent, {done.goodput_per_s:.0f}/s in time, "
            f"{done.work:.2f} cores of work, p99 {done.p99_ms:.0f} ms, {done.refused} refused in "
            f"{done.refusal_p50_ms:.1f} ms; load average {done.load_average}"
        )

    async def _measure_costs(self) -> None:
        """Processor time by kind, each alone for a while."""
        kinds = [*COST_ORDER, *(kind for kind in SHARES if kind not in COST_ORDER)]
        for kind in kinds:
            run, cpu_s = await self._timed(self._load.closed(self._seconds / 4, self._mix.only(kind)))
            self._cost_us[kind] = cpu_s * 1e6 / max(1, sum(of.total() for of in run.outcomes.values()))

    async def _measure_refusals(self) -> None:
        """One place for everybody: nearly all are refused, and what the others cost is known."""
        await set_shedding(self._shop, ONE_PLACE)
        run, cpu_s = await self._timed(self._load.closed(self._seconds / 2, self._mix.only(REFUSED_KIND)))
        outcomes = run.outcomes.get(REFUSED_KIND, {})
        done_us = outcomes.get("200", 0) * self._cost_us[REFUSED_KIND]
        self._refusal_us = max(0.0, cpu_s * 1e6 - done_us) / max(1, outcomes.get("503", 0))

    async def _timed(self, load: Any) -> tuple[Any, float]:
        before_s = self._cpu_s()
        done = await load
        await self._settle()
        return done, self._cpu_s() - before_s

    async def _settle(self) -> None:
        """Until the back room has done the rest: it is part of what requests cost, and not of the next load."""
        for _ in range(SETTLE_STEPS_MAX):
            before_s = self._cpu_s()
            await asyncio.sleep(SETTLE_STEP_S)
            if self._cpu_s() - before_s <= QUIET_CORES * SETTLE_STEP_S:
                return

    def _cpu_s(self) -> float:
        return cpu_s_of_family(self._shop.process.pid) or 0.0

    def _result(self, capacity_per_s: float, phases: dict[str, Phase], recovery_s: float) -> OverloadResult:
        loads = [f"{multiple}x" for multiple in MULTIPLES]
        peak = max(phases[load].goodput_per_s for load in loads) or 1.0
        peak_work = max(phases[load].work for load in loads) or 1.0
        goodput = {load: phases[load].goodput_per_s / peak for load in loads}
        work = {load: phases[load].work / peak_work for load in loads}
        without_load_ms = phases[f"{UNLOADED:g}x"].p99_ms or 1.0
        p99 = {load: phases[load].p99_ms / without_load_ms for load in loads}
        most, request_us = phases[loads[-1]], self._request_us
        share = self._refusal_us / request_us
        return OverloadResult(
            capacity_per_s=capacity_per_s,
            goodput_ratio_10x=goodput[loads[-1]],
            work_ratio_10x=work[loads[-1]],
            p99_ratio_10x=p99[loads[-1]],
            refusal_p50_ms=most.refusal_p50_ms,
            recovery_s=recovery_s,
            offered_10x=most.sent_per_s / capacity_per_s,
            request_us=request_us,
            refusal_us=self._refusal_us,
            refusal_share=share,
            bound_10x=max(0.0, (1 - MULTIPLES[-1] * share) / (1 - share)) if share < 1 else 0.0,
            cost_us=self._cost_us,
            goodput_ratios=goodput,
            work_ratios=work,
            p99_ratios=p99,
            phases=phases,
        )


def _breaches(phases: Mapping[str, Phase]) -> Sequence[str]:
    """Answers that no load explains: whatever was neither done nor refused as overloaded."""
    return [
        f"{load}: {count} answers to {kind} were {outcome}"
        for load, phase in phases.items()
        for kind, outcomes in phase.kinds.items()
        for outcome, count in outcomes.items()
        if outcome.isdigit() and outcome not in ("200", "201", "202", "503", "504")
    ]
