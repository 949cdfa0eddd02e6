"""How those are called whom messages go to: see docs/resilience.md. A message's own queue repeats it, so nothing is
repeated here; traffic is thin, so a few failures in a long window are enough to leave somebody alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from doorbuster.contexts.notifications.channels import Away, Failed, Outcome, Postponed, Way
from doorbuster.contexts.notifications.model import Message
from doorbuster.kernel.errors import Overloaded
from doorbuster.platform.breaker import BreakerSettings, CircuitOpen
from doorbuster.platform.bulkhead import BulkheadSettings
from doorbuster.platform.neighbour import Neighbour, NeighbourSettings, TooSlow
from doorbuster.platform.retry import RetrySettings
from doorbuster.platform.settings.declared import declare

_THIN = BreakerSettings(window_ms=60_000, buckets=12, calls_min=5, slow_ms=8_000, open_ms=30_000, probes=1)
_ONCE = RetrySettings(tries_max=1)

WEBHOOKS = declare(
    "resilience.webhooks",
    NeighbourSettings,
    NeighbourSettings(breaker=_THIN, retry=_ONCE, bulkhead=BulkheadSettings(at_once=8, waiting_max=0), limit_ms=30_000),
)
"""Of one host of webhooks: it never has more than half of the channel's places, whoever's endpoints it answers for."""
CHANNELS = declare(
    "resilience.channels",
    NeighbourSettings,
    NeighbourSettings(breaker=_THIN, retry=_ONCE, bulkhead=BulkheadSettings(at_once=4, waiting_max=4), limit_ms=30_000),
)
"""Of the mail server and of the robot of the group."""


class _NotTaken(Exception):
    """An outcome that speaks against the neighbour, on its way through the breaker."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self.outcome = outcome


async def sent_through(neighbour: Neighbour, send: Callable[[], Awaitable[Outcome]]) -> Outcome:
    """What became of it. Postponed: the neighbour is left alone, or has as much to do as it may have."""

    async def judged() -> Outcome:
        outcome = await send()
        if isinstance(outcome, Failed | Away):
            raise _NotTaken(outcome)
        return outcome

    try:
        return await neighbour.call(judged)
    except _NotTaken as not_taken:
        return not_taken.outcome
    except CircuitOpen as refused:
        return Postponed(refused.slug, refused.retry_after_s * 1000)
    except Overloaded as full:
        return Postponed(full.slug, full.retry_after_s * 1000)
    except TooSlow:
        return Failed("no end within the time allowed")


class Guarded:
    """A way with one other side (a mail server, a robot). While that is left alone, the whole channel is away."""

    def __init__(self, way: Way, neighbour: Neighbour) -> None:
        self.at_once, self.per_recipient = way.at_once, way.per_recipient
        self._way = way
        self._neighbour = neighbour

    async def send(self, message: Message) -> Outcome:
        outcome = await sent_through(self._neighbour, lambda: self._way.send(message))
        return Away(outcome.reason, outcome.pause_ms) if isinstance(outcome, Postponed) else outcome

    async def close(self) -> None:
        await self._way.close()
