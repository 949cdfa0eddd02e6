"""Delivery over HTTP for merchants and customers; couriers' routes are in `courier`."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.delivery.http import courier
from doorbuster.contexts.delivery.http.views import (
    DeliveryView,
    ParcelView,
    PriorityView,
    ShipmentPage,
    ShipmentView,
    TaskPage,
    TaskView,
    TrackingView,
)
from doorbuster.contexts.delivery.model import (
    CARRIER_MAX,
    DESCRIPTION_MAX,
    PRIORITY_MAX,
    REASON_MAX,
    TEXT_PATTERN,
    TRACKING_NUMBER_MAX,
)
from doorbuster.contexts.delivery.parcels import ShipmentDraft, TrackingDraft
from doorbuster.contexts.delivery.service import DeliveryService
from doorbuster.contracts.delivery import ShipmentStatus, TaskStatus
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import AnyRequest, allow, idempotency_key_of, principal_of
from doorbuster.platform.http.places import PlaceBody
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

SELLERS = allow("merchant", "support", "admin")
EVERYBODY = allow("guest", "customer", "courier", "merchant", "support", "admin")


class ShipmentBody(Struct, frozen=True, forbid_unknown_fields=True):
    carrier: Annotated[str, Meta(min_length=1, max_length=CARRIER_MAX, pattern=TEXT_PATTERN)]
    tracking_number: Annotated[str, Meta(min_length=1, max_length=TRACKING_NUMBER_MAX, pattern=r"^[!-~]+$")]


class TrackingBody(Struct, frozen=True, forbid_unknown_fields=True):
    description: Annotated[str, Meta(min_length=1, max_length=DESCRIPTION_MAX, pattern=TEXT_PATTERN)]
    location: Annotated[str, Meta(max_length=DESCRIPTION_MAX, pattern=TEXT_PATTERN)] = ""


class PriorityBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Each step of `priority` counts like two minutes of a courier's time; `urgent` like twelve."""

    priority: Annotated[int, Meta(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] = 0
    urgent: bool = False


class DeclineBody(Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(max_length=REASON_MAX, pattern=TEXT_PATTERN)] = ""


def routes(service: DeliveryService) -> list[ControllerRouterHandler]:
    return [*_parcel_routes(service), *_merchant_routes(service), *courier.routes(service.riding)]


def _parcel_routes(service: DeliveryService) -> list[ControllerRouterHandler]:
    parcels = service.parcels

    @post("/v1/orders/{order_id:str}/shipment", guards=[SELLERS], tags=["delivery"], summary="Send a parcel off")
    async def send_parcel(request: AnyRequest, order_id: FromPath[str], data: JSONBody[ShipmentBody]) -> ShipmentView:
        draft = ShipmentDraft(data.carrier, data.tracking_number)
        key = idempotency_key_of(request)
        return ShipmentView.of(await parcels.send(principal_of(request), parse_id(order_id), key, draft))

    @post("/v1/orders/{order_id:str}/tracking", guards=[SELLERS], tags=["delivery"], summary="News of a parcel")
    async def add_tracking(request: AnyRequest, order_id: FromPath[str], data: JSONBody[TrackingBody]) -> TrackingView:
        draft, key = TrackingDraft(data.description, data.location), idempotency_key_of(request)
        return TrackingView.of(await parcels.track(principal_of(request), parse_id(order_id), key, draft))

    @get("/v1/orders/{order_id:str}/tracking", guards=[EVERYBODY], tags=["delivery"], summary="Where a parcel is")
    async def get_tracking(request: AnyRequest, order_id: FromPath[str]) -> ParcelView:
        shipment, tracking = await parcels.parcel(principal_of(request), parse_id(order_id))
        return ParcelView(ShipmentView.of(shipment), [TrackingView.of(each) for each in tracking])

    @get("/v1/merchant/parcels", guards=[allow("merchant")], tags=["delivery"], summary="One's parcels, oldest first")
    async def list_parcels(
        request: AnyRequest,
        status: FromQuery[ShipmentStatus] = "to_send",
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
    ) -> ShipmentPage:
        after = None if cursor is None else decode_cursor(cursor)
        page = await parcels.list_of(principal_of(request), status, after, checked_limit(limit))
        items = [ShipmentView.of(each) for each in page.items]
        return ShipmentPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    return [send_parcel, add_tracking, get_tracking, list_parcels]


def _merchant_routes(service: DeliveryService) -> list[ControllerRouterHandler]:
    path = "/v1/orders/{order_id:str}/delivery"

    @put(
        "/v1/merchant/place",
        guards=[allow("merchant")],
        tags=["delivery"],
        summary="Where couriers fetch one's orders, from the next one accepted",
    )
    async def put_place(request: AnyRequest, data: JSONBody[PlaceBody]) -> PlaceBody:
        await service.put_place(principal_of(request), data.place())
        return data

    @get("/v1/merchant/deliveries", guards=[allow("merchant")], tags=["delivery"], summary="One's takeout orders")
    async def list_deliveries(
        request: AnyRequest,
        status: FromQuery[TaskStatus] = "waiting",
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int] = LIMIT_DEFAULT,
    ) -> TaskPage:
        after = None if cursor is None else decode_cursor(cursor)
        page = await service.list_of(principal_of(request), status, after, checked_limit(limit))
        items = [TaskView.of(each) for each in page.items]
        return TaskPage(items, None if page.next_after is None else encode_cursor(page.next_after))

    @get(path, guards=[EVERYBODY], tags=["delivery"], summary="How a takeout order stands")
    async def get_delivery(request: AnyRequest, order_id: FromPath[str]) -> DeliveryView:
        return DeliveryView.of(*await service.delivery(principal_of(request), parse_id(order_id)))

    @post(f"{path}/accept", status_code=200, guards=[SELLERS], tags=["delivery"], summary="Begin to prepare it")
    async def accept_delivery(request: AnyRequest, order_id: FromPath[str]) -> TaskView:
        return TaskView.of(await service.accept(principal_of(request), parse_id(order_id)))

    @post(f"{path}/ready", status_code=200, guards=[SELLERS], tags=["delivery"], summary="It can be fetched")
    async def delivery_ready(request: AnyRequest, order_id: FromPath[str]) -> TaskView:
        return TaskView.of(await service.ready(principal_of(request), parse_id(order_id)))

    @post(f"{path}/decline", status_code=200, guards=[SELLERS], tags=["delivery"], summary="It will not be prepared")
    async def decline_delivery(request: AnyRequest, order_id: FromPath[str], data: JSONBody[DeclineBody]) -> TaskView:
        return TaskView.of(await service.decline(principal_of(request), parse_id(order_id), data.reason))

    @post(f"{path}/reassign", status_code=200, guards=[SELLERS], tags=["delivery"], summary="Find another courier")
    async def reassign_delivery(request: AnyRequest, order_id: FromPath[str]) -> TaskView:
        return TaskView.of(await service.reassign(principal_of(request), parse_id(order_id)))

    @put(
        f"{path}/priority",
        guards=[allow("support", "admin")],
        tags=["delivery"],
        summary="Put it before or behind others, until it is picked up",
    )
    async def put_priority(request: AnyRequest, order_id: FromPath[str], data: JSONBody[PriorityBody]) -> PriorityView:
        order, priority, urgent = parse_id(order_id), data.priority, data.urgent
        return PriorityView.of(await service.prioritise(principal_of(request), order, priority, urgent=urgent))

    return [
        put_place,
        list_deliveries,
        get_delivery,
        accept_delivery,
        delivery_ready,
        decline_delivery,
        reassign_delivery,
        put_priority,
    ]
