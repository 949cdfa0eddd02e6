"""What has failed is left alone, and asked again by one."""

from __future__ import annotations

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from doorbuster.platform.limits.pause import Pause


class Pausing(RuleBasedStateMachine):
    """Against what is written in its docstrings, with a clock that only moves when told to."""

    @initialize()
    def begin(self):
        self.now_s = 100.0
        self.pause = Pause(lambda: self.now_s, first_s=1.0, longest_s=4.0)
        self.until_s: float | None = None
        self.rest_s = 1.0
        self.probing = False

    @rule()
    def a_second_passes(self):
        self.now_s += 1.0

    @rule()
    def many_ask(self):
        let_through = sum(self.pause.may_ask() for _ in range(10))
        if self.until_s is None:
            assert let_through == 10
        elif self.now_s < self.until_s or self.probing:
            assert let_through == 0
        else:
            assert let_through == 1
            self.probing = True

    @rule()
    def one_who_was_under_way_fails(self):
        assert self.pause.failed() == (self.until_s is None)
        if self.until_s is None or self.now_s >= self.until_s:
            self.until_s = self.now_s + self.rest_s
            self.rest_s = min(2 * self.rest_s, 4.0)
        self.probing = False

    @precondition(lambda self: self.probing)
    @rule()
    def the_one_goes_away(self):
        self.pause.left()
        self.probing = False

    @rule()
    def it_works(self):
        assert self.pause.worked() == (self.until_s is not None)
        self.until_s, self.rest_s, self.probing = None, 1.0, False

    @invariant()
    def it_rests_as_long_as_it_should(self):
        if hasattr(self, "pause"):
            assert self.pause.away == (self.until_s is not None)
            assert self.pause.resting() == (self.until_s is not None and self.now_s < self.until_s)


TestPausing = Pausing.TestCase
TestPausing.settings = settings(max_examples=100, stateful_step_count=30)
