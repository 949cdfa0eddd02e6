"""An order's delivery as it happens: status and position, over server-sent events and WebSocket."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler

from doorbuster.contexts.delivery.model import PositionEntry, StatusEntry
from doorbuster.contexts.delivery.service import DeliveryService
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.principal import Role
from doorbuster.platform.http.faces import AnyRequest, allow, principal_of
from doorbuster.platform.http.live import (
    MEDIA_TYPE,
    STREAMS,
    EventStream,
    LiveRoute,
    LiveSocket,
    event_stream,
    last_event_id,
    stream,
)

SHOWN = (StatusEntry, PositionEntry)
WATCHERS: tuple[Role, ...] = ("guest", "customer", "courier", "merchant", "support", "admin")
"""Anybody who may have ordered, and those who act for the shop; whose order it is decides."""


def event_route(service: DeliveryService) -> ControllerRouterHandler:
    @get(
        "/v1/orders/{order_id:str}/live",
        guards=[allow(*WATCHERS)],
        media_type=MEDIA_TYPE,
        tags=["delivery"],
        summary="Status and position of an order as they change (server-sent events)",
        opt={STREAMS: SHOWN},
    )
    async def follow_order(request: AnyRequest, order_id: FromPath[str]) -> EventStream:
        topic = parse_id(order_id)
        read = await service.reader(principal_of(request), topic)
        return event_stream(request, service.hub, topic, read, last_event_id(request))

    return follow_order


def live_route(service: DeliveryService) -> LiveRoute:
    async def serve(socket: LiveSocket, order_id: str) -> None:
        topic = parse_id(order_id)
        read = await service.reader(socket.principal, topic)
        await stream(socket, service.hub, topic, read)

    return LiveRoute(
        "/v1/orders/{order_id}/live/socket",
        WATCHERS,
        serve,
        summary="Status and position of an order as they change",
        tags=("delivery",),
        items=SHOWN,
    )
