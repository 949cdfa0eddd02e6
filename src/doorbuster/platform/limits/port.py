"""The port: one question, one decision."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Decision(Struct, frozen=True):
    """`limit` is how many a key that has been idle may take at once, `remaining` how many it may still take now.

    `reset_s`: until the key is as good as idle. `retry_after_s`: 0 when allowed, else until the same question could be
    answered otherwise. `delay_s`: of a paced queue only: allowed, but to be begun after so long.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float
    delay_s: float = 0.0


class Policy(Struct, frozen=True):
    """What a client is told of a limiter: `quota` units in `window_s` seconds."""

    quota: int
    window_s: float


class Limiter(Protocol):
    @property
    def policy(self) -> Policy:
        """As of now."""
        ...

    async def take(self, key: str, cost: int = 1) -> Decision:
        """Takes `cost` units of the key's, all of them or none. A refused question costs nothing.

        More units than the limit are refused whenever they are asked for. Raises ValueError for a cost below 1.
        """
        ...


class LocalTaking(Protocol):
    """A limiter of this process, for hot paths: it does not await."""

    @property
    def policy(self) -> Policy: ...

    def take_now(self, key: str, cost: int = 1) -> Decision: ...
