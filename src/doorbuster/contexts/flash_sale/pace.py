"""How the claim path of this process is doing, for whoever lets people in: measured on every claim, in memory."""

from __future__ import annotations

from doorbuster.contracts.flash_sale import ClaimPace

SMOOTHING = 0.05
"""Weight of the newest wait: about the last twenty claims count."""
REFUSED_WAIT_MS = 2_000.0
"""What a claim counts that was not even taken into the queue."""
IDLE_S = 2.0
"""Without claims for so long nobody waits."""


class Pace:
    def __init__(self) -> None:
        self._answered = 0
        self._wait_ms = 0.0
        self._last_s = 0.0

    def answered(self, began_s: float, now_s: float) -> None:
        self._answered += 1
        self._note((now_s - began_s) * 1000, now_s)

    def refused(self, now_s: float) -> None:
        self._note(REFUSED_WAIT_MS, now_s)

    def _note(self, wait_ms: float, now_s: float) -> None:
        self._wait_ms += SMOOTHING * (wait_ms - self._wait_ms)
        self._last_s = now_s

    def now(self, now_s: float) -> ClaimPace:
        return ClaimPace(self._answered, 0.0 if now_s - self._last_s > IDLE_S else self._wait_ms)
