"""From a plugin's settings to a handler around the next one."""

from __future__ import annotations

from doorbuster.edge.gateway.exchange import Handler
from doorbuster.edge.gateway.plugins.authentication import authenticated
from doorbuster.edge.gateway.plugins.canary import canaried
from doorbuster.edge.gateway.plugins.header_transform import transformed
from doorbuster.edge.gateway.plugins.mirror import mirrored
from doorbuster.edge.gateway.plugins.rate_limit import limited
from doorbuster.edge.gateway.plugins.request_log import logged
from doorbuster.edge.gateway.plugins.response_cache import cached
from doorbuster.edge.gateway.plugins.shedding import shed
from doorbuster.edge.gateway.settings import (
    Authentication,
    Canary,
    HeaderTransform,
    Mirror,
    Plugin,
    RateLimit,
    RequestLog,
    ResponseCache,
    Shedding,
)
from doorbuster.edge.gateway.site import Site


def plugged(plugin: Plugin, following: Handler, site: Site) -> Handler:
    """`plugin` makes sense (see `sense`)."""
    ports = site.ports
    match plugin:
        case Authentication():
            return authenticated(plugin, following, ports.ring)
        case RateLimit():
            return limited(plugin, following, ports.limiters[plugin.limiter])
        case Shedding():
            assert ports.shedder is not None
            return shed(following, ports.shedder)
        case RequestLog():
            return logged(plugin, following, ports.dice)
        case HeaderTransform():
            return transformed(plugin, following)
        case Canary():
            return canaried(plugin, following, ports.dice)
        case ResponseCache():
            return cached(plugin, following, ports.clock)
        case Mirror():
            return mirrored(plugin, following, site)
