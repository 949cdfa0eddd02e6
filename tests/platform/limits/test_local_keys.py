"""A bounded number of keys, and nobody forgiven for it."""

from __future__ import annotations

import pytest

from doorbuster.platform.limits.algorithms.fixed_window import FixedWindow
from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
from doorbuster.platform.limits.algorithms.port import Algorithm
from doorbuster.platform.limits.algorithms.sliding_window import SlidingWindow
from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
from doorbuster.platform.limits.local import SHARED, LocalLimiter
from doorbuster.platform.limits.settings import LimitSettings

from .bench import NOW_US

KEYS = 50
each = pytest.mark.parametrize("algorithm", [TokenBucket, LeakyBucket, FixedWindow, SlidingWindow])


class Keys:
    def __init__(self, algorithm: Algorithm) -> None:
        self.now_us = NOW_US
        self.settings = LimitSettings(limit=2, period_s=60.0, queue=1)
        self.limiter = LocalLimiter(algorithm, lambda: self.settings, now_us=lambda: self.now_us, keys_max=KEYS)

    def admitted(self, key: str, tries: int = 1) -> int:
        return sum(self.limiter.take_now(key).allowed for _ in range(tries))


@each
def test_a_crowd_of_made_up_keys_frees_no_hot_key(algorithm: type[Algorithm]):
    keys = Keys(algorithm())
    assert keys.admitted("hot", 5) == 2
    for at in range(20 * KEYS):
        keys.admitted(f"made-up-{at}")
        assert keys.admitted("hot") == 0
    assert len(keys.limiter) == KEYS


@each
def test_newcomers_beyond_the_bound_share_what_spare_states_allow(algorithm: type[Algorithm]):
    keys = Keys(algorithm())
    for at in range(KEYS):
        keys.admitted(f"first-{at}")
    admitted = sum(keys.admitted(f"then-{at}") for at in range(10_000))
    assert admitted <= 2 * SHARED
    assert len(keys.limiter) == KEYS


@each
def test_who_gets_a_state_of_its_own_later_takes_over_the_shared_one(algorithm: type[Algorithm]):
    keys = Keys(algorithm())
    for at in range(KEYS):
        keys.admitted(f"first-{at}")
    keys.now_us += 59_000_000
    assert keys.admitted("late", 5) == 2
    keys.now_us += 8_000_000  # the first ones are idle
    assert keys.admitted("late", 5) == 0
    keys.now_us += 60_000_000
    assert keys.admitted("late", 5) == 2


@each
def test_idle_keys_make_room(algorithm: type[Algorithm]):
    keys = Keys(algorithm())
    for at in range(KEYS):
        keys.admitted(f"old-{at}")
    keys.now_us += 67_000_000
    for at in range(KEYS):
        assert keys.admitted(f"new-{at}", 3) == 2
    assert len(keys.limiter) <= KEYS


@each
def test_a_refused_stranger_costs_a_place_no_longer_than_it_has_something_to_remember(algorithm: type[Algorithm]):
    keys = Keys(algorithm())
    for at in range(10 * KEYS):
        assert not keys.limiter.take_now(f"greedy-{at}", 3).allowed
    assert keys.admitted("honest", 3) == 2
