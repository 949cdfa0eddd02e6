"""The breaker: closed → open (too many failed or slow) → half open (exactly N probes) → closed or open again.

Used from one event loop; nothing here awaits, so every decision is atomic. A permit belongs to the state it was given
in: what ends after the state has changed says nothing about the new one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from doorbuster.platform.breaker.errors import CircuitOpen
from doorbuster.platform.breaker.settings import BreakerSettings, Force, State
from doorbuster.platform.breaker.window import Counts, Window

Outcome = Literal["good", "failed", "given_up"]
MonotonicMs = Callable[[], int]


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class Snapshot(Struct, frozen=True):
    """A breaker as it is. `calls`, `failed`, `slow`: of the window, or of the probes while half open."""

    state: State
    forced: Force
    calls: int
    failed: int
    slow: int
    probes_under_way: int
    retry_after_ms: int
    opened_times: int
    refused: int
    """So many were not let through since the process began."""


class Permit:
    """Leave to make one call. Exactly one of its endings counts, the first."""

    __slots__ = ("_breaker", "began_ms", "ended", "generation")

    def __init__(self, breaker: Breaker, generation: int, began_ms: int) -> None:
        self._breaker = breaker
        self.generation = generation
        self.began_ms = began_ms
        self.ended = False

    def end(self, outcome: Outcome) -> None:
        """`given_up`: cancelled, or never made; it says nothing about the neighbour, and gives a probe's place back."""
        if not self.ended:
            self.ended = True
            self._breaker.ended(self, outcome)


class Breaker:
    """`settings` and `forced` are read at each decision; `now_ms` never goes back."""

    def __init__(
        self,
        settings: Callable[[], BreakerSettings],
        now_ms: MonotonicMs = monotonic_ms,
        forced: Callable[[], Force] = lambda: "auto",
    ) -> None:
        self._settings = settings
        self._forced = forced
        self._now_ms = now_ms
        self._state: State = "closed"
        self._generation = 0
        self._since_ms = now_ms()
        first = settings()
        self._window = Window(first.window_ms, first.buckets)
        self._probed = Counts()
        self._probes_given = 0
        self._force: Force = "auto"
        self._was_forced: Force = "auto"
        self._opened_times = self._refused = 0

    def ask(self) -> Permit:
        """Raises CircuitOpen."""
        settings, now_ms = self._settings(), self._now_ms()
        forced = self._look(settings, now_ms)
        if forced == "open" or (forced == "auto" and not self._lets_through(settings)):
            self._refused += 1
            raise CircuitOpen(retry_after_s=-(-self._retry_after_ms(settings, now_ms) // 1000))
        if self._state == "half_open" and forced == "auto":
            if not self._probes_given:
                self._since_ms = now_ms  # the time for probes begins with the first
            self._probes_given += 1
        return Permit(self, self._generation, now_ms)

    def force(self, force: Force) -> None:
        """`auto` begins anew: closed, with nothing counted. Goes before what the settings force."""
        self._force = force

    @property
    def is_forced(self) -> bool:
        """By `force`, not by the settings."""
        return self._force != "auto"

    def snapshot(self) -> Snapshot:
        settings, now_ms = self._settings(), self._now_ms()
        forced = self._look(settings, now_ms)
        probing = self._state == "half_open"
        counts = self._probed if probing else self._window.total(now_ms)
        refusing = forced == "open" or (forced == "auto" and self._state != "closed")
        return Snapshot(
            self._state,
            forced,
            *counts,
            probes_under_way=self._probes_given - self._probed.calls if probing else 0,
            retry_after_ms=self._retry_after_ms(settings, now_ms) if refusing else 0,
            opened_times=self._opened_times,
            refused=self._refused,
        )

    def ended(self, permit: Permit, outcome: Outcome) -> None:
        """What came of a call; by way of its permit."""
        settings, now_ms = self._settings(), self._now_ms()
        self._look(settings, now_ms)
        if permit.generation != self._generation:
            return
        slow = now_ms - permit.began_ms > settings.slow_ms
        if self._state == "half_open":
            if outcome == "given_up":
                self._probes_given -= 1
            else:
                self._probed = self._probed.plus(failed=outcome == "failed", slow=slow)
                self._judge_probes(settings, now_ms)
        elif self._state == "closed" and outcome != "given_up":
            counts = self._window.add(now_ms, failed=outcome == "failed", slow=slow)
            if (
                self._was_forced == "auto"
                and counts.calls >= settings.calls_min
                and _bad(counts, counts.calls, settings)
            ):
                self._become("open", settings, now_ms)

    def _lets_through(self, settings: BreakerSettings) -> bool:
        return self._state == "closed" or (self._state == "half_open" and self._probes_given < settings.probes)

    def _look(self, settings: BreakerSettings, now_ms: int) -> Force:
        """What time and changed settings have moved; whether somebody decides in our place."""
        forced = self._force if self._force != "auto" else self._forced()
        if forced != self._was_forced:
            self._was_forced = forced
            self._become("closed", settings, now_ms)
        if forced != "auto":
            return forced
        waited_ms = now_ms - self._since_ms
        if self._state == "open" and waited_ms >= settings.open_ms:
            self._become("half_open", settings, now_ms)
        elif self._state == "half_open":
            if waited_ms >= settings.half_open_ms and self._probes_given:
                self._become("open", settings, now_ms)
            else:
                self._judge_probes(settings, now_ms)
        elif self._window.shape != (settings.window_ms, settings.buckets):
            self._window = Window(settings.window_ms, settings.buckets)
        return "auto"

    def _judge_probes(self, settings: BreakerSettings, now_ms: int) -> None:
        """Open again as soon as enough probes were bad; closed when all are in and they were not."""
        if _bad(self._probed, settings.probes, settings):
            self._become("open", settings, now_ms)
        elif self._probed.calls >= settings.probes:
            self._become("closed", settings, now_ms)

    def _become(self, state: State, settings: BreakerSettings, now_ms: int) -> None:
        self._state, self._since_ms = state, now_ms
        self._generation += 1
        self._probed, self._probes_given = Counts(), 0
        if state == "open":
            self._opened_times += 1
        else:
            self._window = Window(settings.window_ms, settings.buckets)

    def _retry_after_ms(self, settings: BreakerSettings, now_ms: int) -> int:
        """When asking again may help; while probes are under way, in a moment."""
        if self._state == "open":
            return max(1, settings.open_ms - (now_ms - self._since_ms))
        return settings.open_ms if self._was_forced == "open" else 1_000


def _bad(counts: Counts, of: int, settings: BreakerSettings) -> bool:
    """Whether the failed or the slow among `of` calls reach a threshold."""
    failed = counts.failed * 100 >= settings.failed_percent * of
    slow = counts.slow * 100 >= settings.slow_percent * of
    return failed or slow
