"""The end of it: one flat record, the load's figures beside the verdict."""

from __future__ import annotations

import msgspec

from .judge import Verification
from .tally import Rush


class Report(msgspec.Struct, frozen=True):
    """A stampede and its verdict, as JSON one flat object.

    ok: nothing lost, phantom or oversold, and nothing left open (unknown, unreadable, the sale unread).
    arrived: clicks that were due, double clicks and cheats included; arrived = sent + not_sent.
    sent: requests written to a socket.
    claimed: claims acknowledged, each key once, with those recovered by asking again.
    limited: 409 limit-reached; rate limits and overload stand in `refused_by_slug` under their own slugs.
    errors: never sent, or answered with a status no well-formed claim should get; see `errors_by_reason`.
    unknown: without a definite answer even after asking again; `unknown_seen` before that.
    per_s: answers per second over `duration_s` (start to last outcome).
    *_ms: from the intended send time, waiting and timeouts included.
    pacing_lag_p99_ms: how late the generator itself was; what it shows, the latencies contain.
    client_cpu_s: processor time of this process during the load.
    """

    ok: bool
    sent: int
    claimed: int
    sold_out: int
    limited: int
    errors: int
    per_s: float
    p50_ms: float
    p99_ms: float
    lost: int
    unknown: int
    phantom: int
    oversold: int
    duration_s: float
    p999_ms: float
    max_ms: float
    refused_by_slug: dict[str, int]
    client_cpu_s: float
    arrived: int
    not_sent: int
    replayed: int
    recovered: int
    unknown_seen: int
    unreadable: int
    active_units: int
    sale_units: int | None
    released_orders: int
    pacing_lag_p99_ms: float
    errors_by_reason: dict[str, int]
    unknown_by_reason: dict[str, int]
    lost_ids: list[str]
    phantom_ids: list[str]
    oversold_ids: list[str]
    problems: list[str]


def report_of(load: Rush, verdict: Verification) -> Report:
    """The report of a load and the verification of its ledger."""
    return Report(
        ok=verdict.ok,
        sent=load.sent,
        claimed=load.claimed + verdict.recovered,
        sold_out=load.refused_by_slug.get("sold-out", 0),
        limited=load.refused_by_slug.get("limit-reached", 0),
        errors=load.errors,
        per_s=round(load.answered / load.duration_s, 1) if load.duration_s else 0.0,
        p50_ms=load.p50_ms,
        p99_ms=load.p99_ms,
        lost=verdict.lost,
        unknown=verdict.unknown,
        phantom=verdict.phantom,
        oversold=verdict.oversold,
        duration_s=round(load.duration_s, 3),
        p999_ms=load.p999_ms,
        max_ms=load.max_ms,
        refused_by_slug=load.refused_by_slug,
        client_cpu_s=round(load.client_cpu_s, 3),
        arrived=load.arrived,
        not_sent=load.not_sent,
        replayed=load.replayed,
        recovered=verdict.recovered,
        unknown_seen=load.unknown,
        unreadable=verdict.unreadable,
        active_units=verdict.active_units,
        sale_units=verdict.sale_units,
        released_orders=verdict.released_orders,
        pacing_lag_p99_ms=load.pacing_lag_p99_ms,
        errors_by_reason=load.errors_by_reason,
        unknown_by_reason=load.unknown_by_reason,
        lost_ids=verdict.lost_ids,
        phantom_ids=verdict.phantom_ids,
        oversold_ids=verdict.oversold_ids,
        problems=verdict.problems,
    )
