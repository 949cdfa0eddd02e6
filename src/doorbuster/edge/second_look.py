"""The gateway's shedding plugin asks here: a route may be less urgent than its address looks to the server's gate."""

from __future__ import annotations

from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.errors import Overloaded
from doorbuster.kernel.priority import Priority
from doorbuster.platform.shedding import Shedder


class SecondLook:
    """Whoever asks has passed the gate and counts there; here only the priority is looked at anew."""

    def __init__(self, shedder: Shedder) -> None:
        self._shedder = shedder

    def enter(self, priority: Priority, deadline: Deadline | None) -> None:
        """Raises Overloaded."""
        if (deadline is not None and deadline.passed()) or not self._shedder.would_admit(priority):
            raise Overloaded(retry_after_s=self._shedder.retry_after_s)

    def leave(self, took_s: float) -> None:
        """The gate keeps the time."""
