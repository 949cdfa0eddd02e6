"""Time that only moves when told to, in milliseconds."""

from __future__ import annotations


class Ticking:
    def __init__(self) -> None:
        self.now = 1_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, by_ms: int) -> None:
        self.now += by_ms
