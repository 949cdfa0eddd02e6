"""A configuration in force: never changed, only replaced. A request ends on the one that it began on."""

from __future__ import annotations

from typing import NamedTuple

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.exchange import Handler
from doorbuster.edge.gateway.routing import RouteTable
from doorbuster.edge.gateway.settings import GatewaySettings
from doorbuster.kernel.priority import Priority


class Compiled(NamedTuple):
    """A route: its plugins around its upstreams."""

    name: str
    handler: Handler
    priority: Priority | None


class Pipeline(NamedTuple):
    """`bare`: everything goes to the shop in this process and nothing is done to it."""

    settings: GatewaySettings
    table: RouteTable[Compiled]
    trusted: Networks
    bare: bool
