"""An upstream elsewhere: its addresses in turn, and the way a request goes there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from doorbuster.edge.gateway.addresses import Networks
from doorbuster.edge.gateway.exchange import Exchange
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.remote.http import pass_on
from doorbuster.edge.gateway.remote.websocket import connect_through
from doorbuster.edge.gateway.settings import Upstream
from doorbuster.edge.leaving import EndsWithClient


class RemoteUpstream:
    """The handler of an upstream: what the client gives up ends there too, as far as the other server cares."""

    def __init__(self, settings: Upstream, client: RemoteClient, trusted: Networks) -> None:
        self._settings = settings
        self._client = client
        self._trusted = trusted
        self._turns = count()
        self._bases = tuple(url.rstrip("/") for url in settings.urls)

    async def __call__(self, exchange: Exchange) -> None:
        """Raises BadGateway, GatewayTimeout, UpstreamUnavailable, RequestTooSlow, BodyTooLarge, ClientGone."""
        if exchange.is_http:
            with EndsWithClient(exchange.scope):
                await pass_on(exchange, self._settings, self._in_turn(), self._client, self._trusted)
        else:
            await connect_through(exchange, self._settings, self._in_turn(), self._client, self._trusted)

    def _in_turn(self) -> Sequence[str]:
        """All addresses, another one first each time."""
        first = next(self._turns) % len(self._bases)
        return (*self._bases[first:], *self._bases[:first])
