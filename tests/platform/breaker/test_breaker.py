"""The breaker, on a clock that only moves when told to."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from doorbuster.platform.breaker import Breaker, BreakerSettings, CircuitOpen, Force, Permit
from platform_ticking import Ticking

FAST = BreakerSettings(slow_ms=1_000)


class Under:
    """A breaker under test; its settings may be replaced while it runs."""

    def __init__(self, settings: BreakerSettings = FAST) -> None:
        self.time, self.settings = Ticking(), settings
        self.forced: Force = "auto"
        self.breaker = Breaker(lambda: self.settings, self.time, lambda: self.forced)

    @property
    def state(self) -> str:
        return self.breaker.snapshot().state

    def call(self, *, failed: bool = False, took_ms: int = 0) -> None:
        permit = self.breaker.ask()
        self.time.advance(took_ms)
        permit.end("failed" if failed else "good")

    def calls(self, good: int = 0, failed: int = 0) -> None:
        for _ in range(good):
            self.call()
        for _ in range(failed):
            self.call(failed=True)

    def opened(self) -> Under:
        self.calls(failed=self.settings.calls_min)
        assert self.state == "open"
        return self

    def half_opened(self) -> Under:
        self.opened()
        self.time.advance(self.settings.open_ms)
        assert self.state == "half_open"
        return self

    def probes(self) -> list[Permit]:
        """As many as it lets through."""
        permits: list[Permit] = []
        while True:
            try:
                permits.append(self.breaker.ask())
            except CircuitOpen:
                return permits


def test_nothing_is_concluded_from_few_calls():
    under = Under()
    under.calls(failed=19)
    assert under.state == "closed"
    under.call(failed=True)
    assert under.state == "open"


def test_half_of_the_calls_failing_is_enough_and_less_is_not():
    under = Under()
    under.calls(good=51, failed=49)
    assert under.state == "closed"
    under.calls(failed=2)
    assert under.state == "open", "51 of 102"


def test_what_is_older_than_the_window_is_forgotten():
    under = Under()
    under.calls(failed=19)
    under.time.advance(10_000)
    assert under.breaker.snapshot().calls == 0
    under.call(failed=True)
    assert under.state == "closed"


def test_the_window_rolls_in_steps():
    under = Under()
    for _ in range(10):
        under.calls(good=1)
        under.time.advance(1_000)
    assert under.breaker.snapshot().calls == 9, "ten seconds, the step under way included"
    under.time.advance(1_000_000)
    assert under.breaker.snapshot().calls == 0


def test_too_many_slow_calls_open_it_though_all_succeed():
    under = Under(replace(FAST, slow_percent=50, window_ms=100_000))
    for took_ms in (1_000, 1_001) * 10:
        under.call(took_ms=took_ms)
    assert under.state == "open", "ten of twenty took longer than a second"
    under = Under(replace(FAST, slow_percent=50, window_ms=100_000))
    for _ in range(40):
        under.call(took_ms=1_000)
    assert under.state == "closed", "as long as allowed is not slow"


def test_while_open_nobody_is_let_through_and_all_are_told_when_to_ask_again():
    under = Under().opened()
    with pytest.raises(CircuitOpen) as refused:
        under.breaker.ask()
    assert refused.value.retry_after_s == 5
    under.time.advance(3_500)
    with pytest.raises(CircuitOpen) as refused:
        under.breaker.ask()
    assert (refused.value.retry_after_s, under.breaker.snapshot().refused) == (2, 2)


@pytest.mark.parametrize(("failed", "state"), [(0, "closed"), (1, "closed"), (2, "open"), (3, "open")])
def test_exactly_n_probes_decide(failed: int, state: str):
    under = Under().half_opened()
    probes = under.probes()
    assert len(probes) == 3
    for place, probe in enumerate(probes):
        assert place == 0 or under.state in ("half_open", state)
        probe.end("failed" if place < failed else "good")
    assert under.state == state


def test_slow_probes_open_it_again():
    under = Under().half_opened()
    probes = under.probes()
    under.time.advance(1_001)
    for probe in probes:
        probe.end("good")
    assert under.state == "open"


def test_a_given_up_probe_gives_its_place_back():
    under = Under().half_opened()
    first, *_others = under.probes()
    first.end("given_up")
    first.end("given_up")
    assert len(under.probes()) == 1


def test_a_given_up_call_counts_for_nothing():
    under = Under()
    for _ in range(100):
        under.breaker.ask().end("given_up")
    assert (under.state, under.breaker.snapshot().calls) == ("closed", 0)


def test_what_began_before_says_nothing_about_the_probes():
    under = Under()
    late = [under.breaker.ask() for _ in range(3)]
    under.half_opened()
    for permit in late:
        permit.end("failed")
    assert under.state == "half_open"
    for probe in under.probes():
        probe.end("good")
    assert under.state == "closed"
    for permit in late:
        permit.end("failed")
    assert under.breaker.snapshot().failed == 0


def test_probes_that_never_end_do_not_block_it_for_ever():
    under = Under().half_opened()
    under.time.advance(100_000)
    lost = under.probes()
    assert len(lost) == 3, "the time for probes begins with the first"
    under.time.advance(29_999)
    assert (under.state, under.probes()) == ("half_open", [])
    under.time.advance(1)
    assert under.state == "open"
    under.time.advance(5_000)
    assert len(under.probes()) == 3
    for permit in lost:
        permit.end("good")
    assert under.breaker.snapshot().calls == 0


def test_a_changed_threshold_counts_at_once():
    under = Under()
    under.calls(good=12, failed=4)
    under.settings = replace(FAST, calls_min=10, failed_percent=25)
    under.call(failed=True)
    assert under.state == "open"
    under.settings = replace(FAST, open_ms=1)
    under.time.advance(1)
    assert under.state == "half_open"
    first, *_others = under.probes()
    first.end("good")
    under.settings = replace(FAST, open_ms=1, probes=1)
    assert under.state == "closed"


def test_it_can_be_forced_and_let_go():
    under = Under()
    under.breaker.force("open")
    with pytest.raises(CircuitOpen):
        under.breaker.ask()
    assert under.breaker.snapshot().forced == "open"
    under.breaker.force("closed")
    under.calls(failed=100)
    assert under.state == "closed"
    under.breaker.force("auto")
    assert under.breaker.snapshot().calls == 0, "it begins anew"
    under.calls(failed=19)
    assert under.state == "closed"
    under.call(failed=True)
    assert under.state == "open"
    under.breaker.force("closed")
    under.call()


def test_the_settings_can_force_it_too():
    under = Under()
    under.forced = "open"
    with pytest.raises(CircuitOpen):
        under.breaker.ask()
    under.breaker.force("closed")
    under.call()
    under.breaker.force("auto")
    with pytest.raises(CircuitOpen):
        under.breaker.ask()
    under.forced = "auto"
    under.call()
