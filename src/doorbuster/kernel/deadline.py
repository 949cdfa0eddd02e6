"""A moment after which nobody waits for the answer any more."""

from __future__ import annotations

import time

from msgspec import Struct


class Deadline(Struct, frozen=True):
    """`at_s` is on the monotonic clock of this process; what travels is the time that is left."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def left_s(self) -> float:
        return self.at_s - time.monotonic()

    def passed(self) -> bool:
        return self.left_s() <= 0
