"""Where a pipeline stands: what all its routes and plugins have around them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.settings import Upstream


class Site(NamedTuple):
    """`declared` are the upstreams elsewhere, by name."""

    ports: Ports
    client: RemoteClient
    declared: Mapping[str, Upstream]
    trusted: Networks
