"""What a way to count has to offer."""

from __future__ import annotations

from typing import ClassVar, Protocol

from doorbuster.platform.limits.port import Decision
from doorbuster.platform.limits.settings import LimitSettings

State = list[float]
"""What is known of a key. Whole numbers stay below 2^53, which both languages keep exactly."""

PER_S = 1_000_000
SPARE = 1e-9
"""What rounding may do to a level of at most 10^6 units in doubles, with room."""


class Algorithm(Protocol):
    lua: ClassVar[str]
    """The body of the twin: from `now`, `value` (the state as text, or false), `cost`, `limit`, `period`, `burst`,
    `queue` it sets `kept` (the new state as text, or false) and `idle` (when that is forgotten), and returns the
    numbers of the answer."""

    def quota(self, settings: LimitSettings) -> int:
        """How many an idle key may take at once."""
        ...

    def window_us(self, settings: LimitSettings) -> float:
        """In what time a key that has taken its quota is idle again."""
        ...

    def fresh(self) -> State: ...

    def take(self, state: State, now_us: int, settings: LimitSettings, cost: int) -> Decision:
        """Decides and changes `state`. `settings.limit` is above 0."""
        ...

    def give_back(self, state: State, settings: LimitSettings, cost: int, taken_us: int, /) -> None:
        """Undoes a taking of a moment ago, by these thresholds; never more than is left of it."""
        ...

    def agree(self, state: State, now_us: int, reset_us: float, /) -> None:
        """Moves the state's times to those of the shared state, which is idle again in `reset_us`."""
        ...

    def idle_us(self, state: State) -> float:
        """From when on the state is as good as a fresh one."""
        ...
