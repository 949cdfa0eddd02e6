"""Whether plugins fit together, and with what there is in this process."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from doorbuster.edge.gateway.errors import GatewayInvalid
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.remote.fields import UNTOUCHABLE
from doorbuster.edge.gateway.settings import (
    LOCAL,
    Authentication,
    Canary,
    HeaderTransform,
    Mirror,
    Plugin,
    RateLimit,
    ResponseCache,
    Shedding,
)


def check_plugins(route: str, plugins: Sequence[Plugin], upstreams: Collection[str], ports: Ports) -> None:
    """Raises GatewayInvalid."""
    for at, plugin in enumerate(plugins):
        problem = _problem(plugin, plugins[:at], upstreams, ports)
        if problem:
            raise GatewayInvalid(f"route {route}: {problem}")


def _problem(plugin: Plugin, before: Sequence[Plugin], upstreams: Collection[str], ports: Ports) -> str:
    """Empty if all is well."""
    knows_user = any(isinstance(each, Authentication) for each in before)
    match plugin:
        case RateLimit(limiter=name) if name not in ports.limiters:
            return f"there is no limiter {name!r}"
        case RateLimit(by="user") | Canary(by="user") if not knows_user:
            return "`by: user` needs an authentication before it"
        case Shedding() if ports.shedder is None:
            return "this process has no shedder"
        case Canary(upstream=name) if name not in upstreams:
            return f"there is no upstream {name!r}"
        case Mirror(upstream=name) if name not in upstreams or name == LOCAL:
            return f"a mirror needs an upstream elsewhere, and {name!r} is none"
        case HeaderTransform() if touched := _touched(plugin):
            return f"the header {touched!r} cannot be changed"
        case ResponseCache() if plugin.entry_bytes_max > plugin.bytes_max:
            return "one answer of the cache may not be larger than all of it"
        case _:
            return ""


def _touched(transform: HeaderTransform) -> str:
    names = [
        *transform.request_remove,
        *transform.answer_remove,
        *(each.name for each in (*transform.request_set, *transform.answer_set)),
    ]
    return next((name for name in names if name.lower().encode() in UNTOUCHABLE), "")
