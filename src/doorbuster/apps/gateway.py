"""What the gateway of a shop follows while it runs: its routes and plugins, and the limiters that they may name."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from doorbuster.edge.gateway.settings import EVERYTHING_LOCAL, GatewaySettings
from doorbuster.kernel.clock import SystemClock
from doorbuster.platform.limits.hot import HotSettings
from doorbuster.platform.limits.settings import LimitSettings
from doorbuster.platform.settings.declared import declare
from doorbuster.platform.settings.tree import WrongSetting

if TYPE_CHECKING:
    from doorbuster.platform.limits.algorithms.port import Algorithm
    from doorbuster.platform.limits.hasty_redis import HastyRedis
    from doorbuster.platform.limits.port import Limiter
    from doorbuster.platform.limits.shared import WhenAway
    from doorbuster.platform.settings.runtime import Runtime

LIMITS = {
    "claims": declare("limits.claims", LimitSettings, LimitSettings(limit=10, period_s=1.0, burst=20)),
    "sessions": declare("limits.sessions", LimitSettings, LimitSettings(limit=10, period_s=60.0)),
    "browsing": declare("limits.browsing", LimitSettings, LimitSettings(limit=50, period_s=1.0, burst=200)),
    "paced": declare("limits.paced", LimitSettings, LimitSettings(limit=50, period_s=1.0, queue=100)),
    "hot": declare("limits.hot", LimitSettings, LimitSettings(limit=200, period_s=1.0)),
}
"""Thresholds of each key, by the name that a rate-limit plugin gives."""
HOT = declare("limits.hot_values", HotSettings, HotSettings())
"""From when on a value is one for the limiter `hot`."""


class Sharing(Struct, frozen=True, forbid_unknown_fields=True):
    instances: Annotated[int, Meta(ge=1, le=10_000)] = 1
    """Servers that share the limits on Redis: while it is away, each admits its part of a sale's limit."""


SHARING = declare("limits.sharing", Sharing, Sharing())


def limiters_of(runtime: Runtime, redis: HastyRedis | None = None) -> Mapping[str, Limiter]:
    """With a Redis the servers count together. Without it, and for hot values, each counts for itself.

    Token buckets, except for log-ins, which never exceed their limit in any period, and for what is paced.
    While Redis is away, selling and logging in go by each server's part of the limit; browsing is not limited.
    """
    from doorbuster.platform.limits.algorithms.leaky_bucket import LeakyBucket
    from doorbuster.platform.limits.algorithms.sliding_window import SlidingWindow
    from doorbuster.platform.limits.algorithms.token_bucket import TokenBucket
    from doorbuster.platform.limits.hot import HotLimiter
    from doorbuster.platform.limits.local import LocalLimiter
    from doorbuster.platform.limits.shared import SharedLimiter

    thresholds = {name: runtime.live(declared) for name, declared in LIMITS.items()}
    sharing = runtime.live(SHARING)

    def limiter(name: str, algorithm: Algorithm, when_away: WhenAway = "share") -> Limiter:
        if redis is None:
            return LocalLimiter(algorithm, thresholds[name])
        return SharedLimiter(
            redis, name, algorithm, thresholds[name], when_away=when_away, instances=lambda: sharing().instances
        )

    return {
        "claims": limiter("claims", TokenBucket()),
        "sessions": limiter("sessions", SlidingWindow()),
        "browsing": limiter("browsing", TokenBucket(), "open"),
        "paced": limiter("paced", LeakyBucket()),
        "hot": HotLimiter(LocalLimiter(TokenBucket(), thresholds["hot"]), runtime.live(HOT)),
    }


@contextlib.asynccontextmanager
async def open_limiters(runtime: Runtime, redis_url: str) -> AsyncGenerator[Mapping[str, Limiter]]:
    """Those of a server, on its Redis if it has one."""
    if not redis_url:
        yield limiters_of(runtime)
        return
    from doorbuster.platform.limits.hasty_redis import HastyRedis
    from doorbuster.platform.redis import Redis

    redis = Redis(redis_url)
    hasty = HastyRedis(redis)
    try:
        yield limiters_of(runtime, hasty)
    finally:
        await hasty.close()
        await redis.close()


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
