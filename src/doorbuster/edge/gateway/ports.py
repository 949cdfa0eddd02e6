"""What the gateway needs from others, as it sees them."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from doorbuster.kernel.clock import Clock
from doorbuster.kernel.deadline import Deadline
from doorbuster.kernel.priority import Priority
from doorbuster.platform.http.raw import Receive, Scope, Send
from doorbuster.platform.http.tokens import KeyRing
from doorbuster.platform.limits.port import Limiter

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Shedder(Protocol):
    """Whether there is room. What `enter` let in is told again with `leave`, whatever became of it."""

    def enter(self, priority: Priority, deadline: Deadline | None) -> None:
        """Raises Busy."""
        ...

    def leave(self, took_s: float) -> None: ...


@dataclass(frozen=True)
class Ports:
    """`limiters` by name; without a shedder, routes that want one are refused. `dice` draws samples."""

    local: App
    ring: KeyRing
    clock: Clock
    limiters: Mapping[str, Limiter]
    shedder: Shedder | None
    dice: random.Random
