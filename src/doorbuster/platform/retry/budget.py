"""A retry budget: retries are a fraction of the requests, however many fail.

A bucket of tokens, as in Finagle's RetryBudget and gRPC's retry throttling: each first attempt puts in `percent`
hundredths of a token, each retry (and each hedge) takes a whole one. It begins with `reserve` tokens and holds no
more, so that a lone lost answer is asked for again, and an hour of calm buys no storm. Thus, over any stretch:
retries ≤ percent % of its first attempts + reserve. (Finagle adds some retries per second whatever the traffic; that
would break the bound for small traffic, so we do not.)
"""

from __future__ import annotations


class RetryBudget:
    """Counted in hundredths of a token, so that nothing is lost to rounding."""

    def __init__(self, percent: int, reserve: int) -> None:
        self._percent = percent
        self._reserve = reserve
        self._hundredths = reserve * 100

    @property
    def tokens(self) -> float:
        return self._hundredths / 100

    def change(self, percent: int, reserve: int) -> None:
        """New terms; what is there is kept up to the new reserve."""
        if (percent, reserve) != (self._percent, self._reserve):
            self._percent, self._reserve = percent, reserve
            self._hundredths = min(self._hundredths, self._most)

    def deposit(self) -> None:
        """A first attempt is made."""
        self._hundredths = min(self._hundredths + self._percent, self._most)

    def take(self) -> bool:
        """Whether a retry may be made."""
        if self._hundredths < 100:
            return False
        self._hundredths -= 100
        return True

    @property
    def _most(self) -> int:
        """Without a reserve, still room for the token that is being saved."""
        return max(self._reserve, 1) * 100
