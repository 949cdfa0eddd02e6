"""The breaker as a state machine, against a model that remembers every call and counts them anew each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from doorbuster.platform.breaker import Breaker, BreakerSettings, CircuitOpen, Permit
from platform_ticking import Ticking

TERMS = BreakerSettings(
    window_ms=1_000, buckets=5, calls_min=4, failed_percent=50, slow_ms=150, slow_percent=75, open_ms=400, probes=3
)
STEP_MS = 200


class BreakerByChance(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.time = Ticking()
        self.breaker = Breaker(lambda: TERMS, self.time)
        self.under_way: list[tuple[Permit, int]] = []
        self.state, self.era, self.since = "closed", 0, self.time.now
        self.ended: list[tuple[int, bool, bool]] = []
        self.probes_given = 0
        self.probes_ended: list[tuple[bool, bool]] = []

    def move(self, state: str) -> None:
        self.state, self.since = state, self.time.now
        self.era += 1
        self.probes_given, self.probes_ended = 0, []
        if state != "open":
            self.ended = []

    def time_moves(self) -> None:
        waited = self.time.now - self.since
        if self.state == "open" and waited >= TERMS.open_ms:
            self.move("half_open")
        elif self.state == "half_open" and self.probes_given and waited >= TERMS.half_open_ms:
            self.move("open")

    def in_window(self) -> list[tuple[bool, bool]]:
        oldest = self.time.now // STEP_MS - TERMS.buckets
        return [(failed, slow) for at, failed, slow in self.ended if at // STEP_MS > oldest]

    def bad(self, calls: list[tuple[bool, bool]], of: int) -> bool:
        failed, slow = sum(failed for failed, _ in calls), sum(slow for _, slow in calls)
        return failed / of >= 0.5 or slow / of >= 0.75

    @rule()
    def ask(self) -> None:
        self.time_moves()
        allowed = self.state == "closed" or (self.state == "half_open" and self.probes_given < TERMS.probes)
        try:
            self.under_way.append((self.breaker.ask(), self.era))
        except CircuitOpen as refused:
            assert not allowed
            assert 1 <= refused.retry_after_s <= 1
        else:
            assert allowed
            if self.state == "half_open":
                self.since = self.time.now if not self.probes_given else self.since
                self.probes_given += 1

    @rule(choice=st.integers(0, 1_000), outcome=st.sampled_from(["good", "failed", "failed", "given_up"]))
    def end(self, choice: int, outcome: str) -> None:
        if not self.under_way:
            return
        self.time_moves()
        permit, era = self.under_way.pop(choice % len(self.under_way))
        permit.end(outcome)  # type: ignore[arg-type]
        if era != self.era:
            return
        fate = (outcome == "failed", self.time.now - permit.began_ms > TERMS.slow_ms)
        if self.state == "half_open":
            if outcome == "given_up":
                self.probes_given -= 1
                return
            self.probes_ended.append(fate)
            if self.bad(self.probes_ended, TERMS.probes):
                self.move("open")
            elif len(self.probes_ended) == TERMS.probes:
                self.move("closed")
        elif outcome != "given_up":
            self.ended.append((self.time.now, *fate))
            calls = self.in_window()
            if len(calls) >= TERMS.calls_min and self.bad(calls, len(calls)):
                self.move("open")

    @rule(by_ms=st.sampled_from([1, 50, 151, 200, 400, 1_000, 30_000]))
    def wait(self, by_ms: int) -> None:
        self.time.advance(by_ms)

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        self.time_moves()
        seen = self.breaker.snapshot()
        assert seen.state == self.state
        calls = self.probes_ended if self.state == "half_open" else self.in_window()
        assert (seen.calls, seen.failed, seen.slow) == (
            len(calls),
            sum(failed for failed, _ in calls),
            sum(slow for _, slow in calls),
        )
        assert seen.probes_under_way == self.probes_given - len(self.probes_ended) <= TERMS.probes


BreakerByChance.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestBreakerByChance = BreakerByChance.TestCase
