"""Counting: every click ends in exactly one of the counters, and the sums are checked at the end."""

from __future__ import annotations

from collections import Counter

import msgspec

from .errors import GeneratorFaultError
from .latency import Latency
from .ledger import Entry
from .wire import Outcome

REASONS_MAX = 64  # distinct reasons kept per counter; a server that invents slugs fills "other"


class Progress(msgspec.Struct, frozen=True):
    """A snapshot for a live view; ms since the intended send, `per_s` counts answers since the last one."""

    elapsed_s: float
    arrived: int
    sent: int
    in_flight: int
    waiting: int
    claimed: int
    sold_out: int
    limited: int
    errors: int
    unknown: int
    p50_ms: float
    p99_ms: float
    per_s: float


class Rush(msgspec.Struct, frozen=True):
    """What the load itself saw, before anything was verified.

    arrived = sent + not_sent;
    sent = claimed + replayed + breaches + sum(refused_by_slug) + unknown + (errors - not_sent).
    """

    arrived: int
    sent: int
    not_sent: int
    answered: int
    claimed: int
    replayed: int
    breaches: int
    errors: int
    unknown: int
    refused_by_slug: dict[str, int]
    errors_by_reason: dict[str, int]
    unknown_by_reason: dict[str, int]
    duration_s: float
    client_cpu_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    pacing_lag_p99_ms: float


class Tally:
    """Counters of a run that is under way."""

    def __init__(self) -> None:
        self.arrived = self.sent = self.finished = self.answered = 0
        self.claimed = self.replayed = self.breaches = self.errors = self.unknown = 0
        self.refused: Counter[str] = Counter()
        self.errors_by_reason: Counter[str] = Counter()
        self.unknown_by_reason: Counter[str] = Counter()
        self.latency = Latency()
        self.pacing_lag = Latency()

    def count_ack(self, entry: Entry) -> None:
        """A 201, as the ledger sees it."""
        if entry == "new":
            self.claimed += 1
        elif entry == "replay":
            self.replayed += 1
        else:
            self.breaches += 1

    def count_other(self, outcome: Outcome) -> None:
        """Anything but a 201."""
        if outcome.kind == "refused":
            bump(self.refused, outcome.reason)
        elif outcome.kind == "unknown":
            self.unknown += 1
            bump(self.unknown_by_reason, outcome.reason)
        else:
            self.errors += 1
            bump(self.errors_by_reason, outcome.reason)

    def progress(self, elapsed_s: float, in_flight: int, waiting: int, per_s: float) -> Progress:
        """A snapshot of now."""
        p50_ms, p99_ms = self.latency.percentiles_ms(50.0, 99.0)
        return Progress(
            elapsed_s=elapsed_s,
            arrived=self.arrived,
            sent=self.sent,
            in_flight=in_flight,
            waiting=waiting,
            claimed=self.claimed,
            sold_out=self.refused["sold-out"],
            limited=self.refused["limit-reached"],
            errors=self.errors,
            unknown=self.unknown,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            per_s=per_s,
        )

    def rush(self, duration_s: float, client_cpu_s: float) -> Rush:
        """The final count. Raises `GeneratorFaultError` if some click has no outcome, or two."""
        outcomes = self.claimed + self.replayed + self.breaches + self.refused.total()
        outcomes += self.unknown + self.errors
        if not outcomes == self.finished == self.arrived:
            raise GeneratorFaultError(f"{self.arrived} clicks, {self.finished} ended, {outcomes} outcomes")
        not_sent = self.arrived - self.sent
        p50_ms, p99_ms, p999_ms = self.latency.percentiles_ms(50.0, 99.0, 99.9)
        return Rush(
            arrived=self.arrived,
            sent=self.sent,
            not_sent=not_sent,
            answered=self.answered,
            claimed=self.claimed,
            replayed=self.replayed,
            breaches=self.breaches,
            errors=self.errors,
            unknown=self.unknown,
            refused_by_slug=dict(self.refused),
            errors_by_reason=dict(self.errors_by_reason),
            unknown_by_reason=dict(self.unknown_by_reason),
            duration_s=duration_s,
            client_cpu_s=client_cpu_s,
            p50_ms=p50_ms,
            p99_ms=p99_ms,
            p999_ms=p999_ms,
            max_ms=self.latency.max_ms,
            pacing_lag_p99_ms=self.pacing_lag.percentiles_ms(99.0)[0],
        )


def bump(counter: Counter[str], reason: str) -> None:
    """Adds one under the reason, or under "other" when a counter holds too many different ones."""
    if reason not in counter and len(counter) >= REASONS_MAX:
        reason = "other"
    counter[reason] += 1
