"""What a run of the city comes to, read from its log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from doorbuster.lab.city.model import CityPlan, CityReport, Courier, Entry


def report_on(seed: int, policy: str, log: Sequence[Entry], couriers: Iterable[Courier], plan: CityPlan) -> CityReport:
    placed = {entry.order_id: entry.ms for entry in log if entry.kind == "placed"}
    doors = [entry for entry in log if entry.kind == "delivered"]
    times = sorted((entry.ms - placed[entry.order_id]) / 1000 for entry in doors)
    end_ms = max((entry.ms for entry in log), default=0)
    delivered, gone = Counter(entry.courier_id for entry in doors), _gone(log)
    rates = [
        delivered[c.courier_id] / ((gone.get(c.courier_id, end_ms) - c.online_ms) / 3_600_000)
        for c in couriers
        if gone.get(c.courier_id, end_ms) - c.online_ms >= 600_000  # a rate of a few minutes says nothing
    ]
    kinds = Counter[str](entry.kind for entry in log)
    return CityReport(
        seed,
        policy,
        len(placed),
        kinds["delivered"],
        kinds["cancelled"],
        fmean(times) if times else 0.0,
        _at(times, 0.5),
        _at(times, 0.9),
        _at(times, 0.99),
        sum(each > plan.promised_s for each in times) / max(len(times), 1),
        gini_of(rates),
        kinds["declined"],
        kinds["expired"],
        kinds["reassigned"],
    )


def _gone(log: Sequence[Entry]) -> dict[int | None, int]:
    return {entry.courier_id: entry.ms for entry in log if entry.kind == "gone"}


def gini_of(values: Sequence[float]) -> float:
    """0: all the same; towards 1: one has all. The mean difference of two over twice the mean."""
    count, total = len(values), sum(values)
    if not total:
        return 0.0
    return sum((2 * n - count + 1) * value for n, value in enumerate(sorted(values))) / (count * total)


def _at(times: Sequence[float], share: float) -> float:
    return times[min(int(len(times) * share), len(times) - 1)] if times else 0.0


def mean_of(reports: Sequence[CityReport]) -> list[CityReport]:
    """One report for each policy, with the means over the seeds (counts rounded); `seed` is how many seeds."""
    return [
        _mean(policy, [report for report in reports if report.policy == policy])
        for policy in dict.fromkeys(report.policy for report in reports)
    ]


def _mean(policy: str, mine: Sequence[CityReport]) -> CityReport:
    return CityReport(
        seed=len(mine),
        policy=policy,
        orders=round(fmean(each.orders for each in mine)),
        delivered=round(fmean(each.delivered for each in mine)),
        cancelled=round(fmean(each.cancelled for each in mine)),
        mean_s=fmean(each.mean_s for each in mine),
        p50_s=fmean(each.p50_s for each in mine),
        p90_s=fmean(each.p90_s for each in mine),
        p99_s=fmean(each.p99_s for each in mine),
        late_share=fmean(each.late_share for each in mine),
        gini=fmean(each.gini for each in mine),
        declined=round(fmean(each.declined for each in mine)),
        expired=round(fmean(each.expired for each in mine)),
        reassigned=round(fmean(each.reassigned for each in mine)),
    )


def table_of(reports: Sequence[CityReport]) -> str:
    lines = ["policy         seed  delivered  cancelled   mean    p50    p90    p99   late   gini"]
    lines += [
        f"{r.policy:<14} {r.seed:>4} {r.delivered:>10} {r.cancelled:>10} {r.mean_s / 60:>5.1f}m {r.p50_s / 60:>5.1f}m "
        f"{r.p90_s / 60:>5.1f}m {r.p99_s / 60:>5.1f}m {r.late_share:>6.1%} {r.gini:>6.3f}"
        for r in reports
    ]
    return "\n".join(lines)
