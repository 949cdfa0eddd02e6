"""The gateway itself: stands in front of the door, and takes over a new configuration between two requests."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from doorbuster.edge.entering import enter
from doorbuster.edge.gateway.addresses import is_trusted, peer_of
from doorbuster.edge.gateway.compiling import compile_pipeline
from doorbuster.edge.gateway.errors import GatewayInvalid
from doorbuster.edge.gateway.exchange import Exchange
from doorbuster.edge.gateway.pipeline import Pipeline
from doorbuster.edge.gateway.ports import Ports
from doorbuster.edge.gateway.remote.client import RemoteClient
from doorbuster.edge.gateway.settings import GatewaySettings
from doorbuster.kernel.errors import ShopError
from doorbuster.kernel.priority import Priority
from doorbuster.kernel.request_context import PRIORITY, RequestContext
from doorbuster.platform.http.problems import InternalError
from doorbuster.platform.http.raw import CONTEXT, ClientGone, Receive, Scope, Send, header

log = structlog.get_logger("gateway")


class Gateway:
    """The ASGI application in front of everything. `settings` is asked at each request, and costs a look at a value.

    A request is answered by the pipeline that was in force when it came, to its end. A value that makes no sense is
    logged and not taken over; `refused` says why, and the pipeline before it stays.
    """

    def __init__(self, ports: Ports, settings: Callable[[], GatewaySettings]) -> None:
        """Raises GatewayInvalid: there is nothing to stay with at the start."""
        self._ports = ports
        self._settings = settings
        self._client = RemoteClient()
        self._seen = settings()
        self._pipeline = compile_pipeline(self._seen, ports, self._client)
        self.refused: GatewayInvalid | None = None

    @property
    def pipeline(self) -> Pipeline:
        """What is in force."""
        return self._pipeline

    def validate(self, settings: GatewaySettings) -> None:
        """To be asked before a change is stored. Raises GatewayInvalid."""
        compile_pipeline(settings, self._ports, self._client)

    async def close(self) -> None:
        """Ends what is under way to other servers."""
        await self._client.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings()
        if settings is not self._seen:
            self._take_over(settings)
        pipeline = self._pipeline
        if pipeline.bare:
            await self._ports.local(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):
            await _conduct(pipeline, scope, receive, send)

    def _take_over(self, settings: GatewaySettings) -> None:
        self._seen = settings  # also if it is no good: it is refused once, not at every request
        try:
            pipeline = compile_pipeline(settings, self._ports, self._client)
        except GatewayInvalid as error:
            self.refused = error
            log.warning("a change of the gateway is refused; what was in force stays", reason=error.detail)
            return
        self._pipeline, self.refused = pipeline, None
        log.info("the gateway has changed", routes=len(settings.routes), upstreams=len(settings.upstreams))


async def _conduct(pipeline: Pipeline, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers whatever is raised."""
    try:
        context = enter(scope)
    except ShopError as error:
        await Exchange(scope, receive, send, scope[CONTEXT], "", pipeline.trusted).refuse(error)
        return
    exchange = Exchange(scope, receive, send, context, "", pipeline.trusted)
    try:
        route = pipeline.table.find(scope)
        exchange.route = route.name
        _set_priority(context, route.priority, pipeline, scope)
        await route.handler(exchange)
    except ClientGone:
        return
    except ShopError as error:
        await exchange.refuse(error)
    except Exception:
        log.exception("request failed", request_id=context.request_id, route=exchange.route, path=context.path)
        await exchange.refuse(InternalError())
    finally:
        exchange.over()


def _set_priority(context: RequestContext, own: Priority | None, pipeline: Pipeline, scope: Scope) -> None:
    """A gateway of ours before this one may have decided; nobody else is asked."""
    if own is not None:
        context.priority = own
    if pipeline.trusted and is_trusted(peer_of(scope), pipeline.trusted):
        told = header(scope, PRIORITY.encode())
        if told is not None and told.decode("latin-1").upper() in Priority.__members__:
            context.priority = Priority[told.decode("latin-1").upper()]
