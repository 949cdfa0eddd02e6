"""What the gateway of a shop follows while it runs: its routes and plugins, and the limiters that they may name."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from doorbuster.edge.gateway.settings import EVERYTHING_LOCAL, GatewaySettings
from doorbuster.kernel.clock import SystemClock
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.tree import WrongSetting

if TYPE_CHECKING:
    from doorbuster.platform.limits.local import LocalLimiter
    from doorbuster.platform.settings.runtime import Runtime

LIMITS = {
    "claims": declare("limits.claims", LimitSettings, LimitSettings(limit=10, period_s=1.0, burst=20)),
    "sessions": declare("limits.sessions", LimitSettings, LimitSettings(limit=10, period_s=60.0)),
    "browsing": declare("limits.browsing", LimitSettings, LimitSettings(limit=50, period_s=1.0, burst=200)),
}
"""Thresholds by the name that a rate-limit plugin gives; of each key, in this process."""


def limiters_of(runtime: Runtime) -> Mapping[str, LocalLimiter]:
    """Token buckets, except for log-ins: those never exceed their limit in any period."""
    from doorbuster.platform.limits.algorithms.sliding_window import SlidingWindow
    from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
    from doorbuster.platform.limits.local import LocalLimiter

    algorithms = {"claims": TokenBucket(), "sessions": SlidingWindow(), "browsing": TokenBucket()}
    return {name: LocalLimiter(algorithms[name], runtime.live(declared)) for name, declared in LIMITS.items()}


def _makes_sense(settings: GatewaySettings) -> None:
    """Compiles it as a server would. Raises WrongSetting."""
    if settings == EVERYTHING_LOCAL:
        return
    from doorbuster.edge.gateway.compiling import compile_pipeline
    from doorbuster.edge.gateway.errors import GatewayInvalid
    from doorbuster.edge.gateway.ports import Ports
    from doorbuster.edge.gateway.remote.client import RemoteClient
    from doorbuster.platform.http.tokens import KeyRing
    from doorbuster.platform.settings.keys import Key
    from doorbuster.platform.settings.runtime import Runtime

    clock = SystemClock()
    dice = random.Random()  # noqa: S311 - draws samples, no secrets
    ports = Ports(_nowhere, KeyRing([Key.generate()], clock), clock, limiters_of(Runtime()), None, dice)
    try:
        compile_pipeline(settings, ports, RemoteClient())
    except GatewayInvalid as error:
        raise WrongSetting("gateway", error.detail) from error


async def _nowhere(_scope: Any, _receive: Any, _send: Any) -> None:
    """Nobody is asked while a change is checked."""


GATEWAY = declare("gateway", GatewaySettings, EVERYTHING_LOCAL, _makes_sense)
