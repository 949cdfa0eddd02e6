"""Limits of this process. Nothing awaits, so that the tasks of one event loop decide one after another.

At most `keys_max` keys have a state of their own. New keys push out those that are idle, never one that has something
to be remembered; when there is none, newcomers share `SHARED` spare states by their hash, and a key that then gets a
state of its own takes over what the shared one remembers. So a crowd of made-up keys frees nobody, and costs those who
come new while it lasts: each of them shares one key's limit with others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from doorbuster.platform.limits.algorithms.port import PER_S, Algorithm, State
from doorbuster.platform.limits.port import Decision, Policy
from doorbuster.platform.limits.settings import LimitSettings

KEYS_MAX = 100_000
SHARED = 256
LOOKED_AT = 2
"""How many of the oldest keys are looked at when a new one comes: more than one, so that idle ones are cleared away."""


def monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class LocalLimiter:
    def __init__(
        self,
        algorithm: Algorithm,
        settings: Callable[[], LimitSettings],
        *,
        now_us: Callable[[], int] = monotonic_us,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._algorithm, self._settings, self._now_us, self._keys_max = algorithm, settings, now_us, keys_max
        self._states: dict[str, State] = {}
        self._oldest: deque[str] = deque()
        self._shared: dict[int, State] = {}

    @property
    def policy(self) -> Policy:
        return policy_of(self._algorithm, self._settings())

    async def take(self, key: str, cost: int = 1) -> Decision:
        return self.take_by(self._settings(), key, cost)

    def take_now(self, key: str, cost: int = 1) -> Decision:
        return self.take_by(self._settings(), key, cost)

    def take_by(self, settings: LimitSettings, key: str, cost: int) -> Decision:
        """By thresholds that hold for this question."""
        if cost < 1 or not settings.enabled or not settings.limit:
            return without_counting(self._algorithm, settings, cost)
        now_us = self._now_us()
        state = self._states.get(key)
        if state is None:
            state = self._admitted(key, now_us)
        return self._algorithm.take(state, now_us, settings, cost)

    def give_back(self, settings: LimitSettings, key: str, cost: int, taken_us: int) -> None:
        """A taking by these thresholds turned out not to be one."""
        state = self._states.get(key)
        if state is not None:
            self._algorithm.give_back(state, settings, cost, taken_us)

    def agree(self, key: str, reset_s: float) -> None:
        """The times of the shared state of this key."""
        state = self._states.get(key)
        if state is not None:
            self._algorithm.agree(state, self._now_us(), round(reset_s * PER_S))

    def has_room_for(self, key: str) -> bool:
        """Whether the key has, or now gets, a state of its own."""
        return key in self._states or self._admitted(key, self._now_us()) is self._states.get(key)

    def __len__(self) -> int:
        return len(self._states)

    def _admitted(self, key: str, now_us: int) -> State:
        self._clear(now_us)
        shared = self._shared.get(hash(key) % SHARED)
        if len(self._states) < self._keys_max:
            state = self._algorithm.fresh() if shared is None else shared.copy()
            self._states[key] = state
            self._oldest.append(key)
            return state
        if shared is None:
            shared = self._shared[hash(key) % SHARED] = self._algorithm.fresh()
        return shared

    def _clear(self, now_us: int) -> None:
        """Forgets those among the oldest keys that are idle; the others queue up again."""
        for _ in range(min(LOOKED_AT, len(self._oldest))):
            key = self._oldest.popleft()
            if self._algorithm.idle_us(self._states[key]) <= now_us:
                del self._states[key]
            else:
                self._oldest.append(key)


def without_counting(algorithm: Algorithm, settings: LimitSettings, cost: int) -> Decision:
    """The answer of a limiter that is switched off, or closed. Raises ValueError for a cost below 1."""
    if cost < 1:
        raise ValueError("a limiter takes one unit or more")
    if settings.enabled:
        return Decision(False, 0, 0, settings.period_s, settings.period_s)
    quota = algorithm.quota(settings)
    return Decision(True, quota, quota, 0.0, 0.0)


def policy_of(algorithm: Algorithm, settings: LimitSettings) -> Policy:
    if not settings.limit:
        return Policy(0, settings.period_s)
    return Policy(algorithm.quota(settings), algorithm.window_us(settings) / PER_S)
