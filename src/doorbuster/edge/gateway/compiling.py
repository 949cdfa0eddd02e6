"""From settings to a pipeline that never changes: what makes no sense is refused here, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import ip_network
from urllib.parse import urlsplit

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.balancing import balanced
from doorbuster.edge.gateway.errors import GatewayInvalid
from doorbuster.edge.gateway.exchange import Exchange, Handler
from doorbuster.edge.gateway.pipeline import Compiled, Pipeline
from doorbuster.edge.gateway.plugins.build import plugged
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.remote.upstream import RemoteUpstream
from doorbuster.edge.gateway.routing import BadPattern, RouteTable
from doorbuster.edge.gateway.sense import check_plugins
from doorbuster.edge.gateway.settings import LOCAL, GatewaySettings, Route
from doorbuster.edge.gateway.site import Site
from doorbuster.kernel.priority import Priority


def compile_pipeline(settings: GatewaySettings, ports: Ports, client: RemoteClient) -> Pipeline:
    """Raises GatewayInvalid."""
    _check_once("upstream", [LOCAL, *(upstream.name for upstream in settings.upstreams)])
    _check_once("route", [route.name for route in settings.routes])
    declared = {upstream.name: upstream for upstream in settings.upstreams}
    site = Site(ports, client, declared, _networks(settings.trusted_proxies))
    upstreams = _upstreams(site)
    compiled = [(route, _compiled(route, settings, upstreams, site)) for route in settings.routes]
    try:
        table = RouteTable(compiled)
    except BadPattern as error:
        raise GatewayInvalid(str(error)) from error
    return Pipeline(settings, table, site.trusted, bare=_is_bare(settings))


def _is_bare(settings: GatewaySettings) -> bool:
    """Everything goes to the shop in this process, and nothing is done to it: there is nothing to look up."""
    first = settings.routes[0]
    return (
        not settings.plugins
        and not first.plugins
        and not first.methods
        and not first.headers
        and first.path == "/**"
        and first.priority is None
        and {share.upstream for share in first.to if share.weight} == {LOCAL}
    )


def _compiled(route: Route, settings: GatewaySettings, upstreams: dict[str, Handler], site: Site) -> Compiled:
    plugins = (*settings.plugins, *route.plugins)
    check_plugins(route.name, plugins, upstreams, site.ports)
    for share in route.to:
        if share.upstream not in upstreams:
            raise GatewayInvalid(f"route {route.name}: there is no upstream {share.upstream!r}")
    if not sum(share.weight for share in route.to):
        raise GatewayInvalid(f"route {route.name}: no upstream has a weight")
    handler = balanced(route.to, upstreams, site.ports.dice)
    for plugin in reversed(plugins):
        handler = plugged(plugin, handler, site)
    return Compiled(route.name, handler, None if route.priority is None else Priority[route.priority.upper()])


def _upstreams(site: Site) -> dict[str, Handler]:
    for upstream in site.declared.values():
        for url in upstream.urls:
            _check_url(upstream.name, url)

    async def local(exchange: Exchange) -> None:
        await site.ports.local(exchange.scope, exchange.receive, exchange.send)

    return {
        LOCAL: local,
        **{name: RemoteUpstream(each, site.client, site.trusted) for name, each in site.declared.items()},
    }


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError as error:
        raise GatewayInvalid(f"upstream {name}: {error}") from error
    if not parts.hostname or not port_is_good or parts.query or parts.fragment or "@" in parts.netloc:
        raise GatewayInvalid(f"upstream {name}: {parts.hostname or 'an address'} must be http(s)://host[:port][/path]")


def _check_once(kind: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise GatewayInvalid(f"more than one {kind} is called {twice[0]!r}")


def _networks(declared: Sequence[str]) -> Networks:
    try:
        return tuple(ip_network(network) for network in declared)
    except ValueError as error:
        raise GatewayInvalid(f"trusted_proxies: {error}") from error
