"""The waiting room over HTTP. Taking a ticket is what everybody does at once, and therefore plain ASGI."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec
from litestar import Response, get, put
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from doorbuster.contexts.waiting_room.http import page
from doorbuster.contexts.waiting_room.http.views import (
    DrawView,
    FailingRoomsView,
    FailingRoomView,
    PlaceView,
    RoomBody,
    TicketView,
    WaitingRoomView,
)
from doorbuster.contexts.waiting_room.outages import Outages
from doorbuster.contexts.waiting_room.service import WaitingRoomService
from doorbuster.kernel.errors import Forbidden, Unauthenticated
from doorbuster.kernel.idempotency import checked_key
from doorbuster.kernel.ids import parse_id
from doorbuster.platform.http.faces import AnyRequest, allow, principal_of, public
from doorbuster.platform.http.live import MEDIA_TYPE, STREAMS, EventStream, event_stream, last_event_id
from doorbuster.platform.http.raw import FIELDS, IDEMPOTENCY_KEY, RawRoute, Scope, id_in_path
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, checked_limit, decode_cursor, encode_cursor

_encode = msgspec.json.Encoder().encode


def ticket_route(service: WaitingRoomService) -> RawRoute:
    """POST /v1/sales/{sale_id}/waiting-room/tickets."""

    async def answer(scope: Scope, sale_id: str, _body: bytes) -> tuple[int, bytes]:
        principal = scope["principal"]
        if principal is None:
            raise Unauthenticated
        if principal.role != "customer":
            raise Forbidden("tickets are for customers")
        key = scope[FIELDS].get(b"idempotency-key")
        checked_key(None if key is None else key.decode("latin-1"))
        return 201, _encode(TicketView.of(await service.join(principal, parse_id(sale_id))))

    (view,), schemas = msgspec.json.schema_components([TicketView], ref_template="#/components/schemas/{name}")
    operation: dict[str, Any] = {
        "tags": ["waiting room"],
        "operationId": "TakeTicket",
        "summary": "Take a ticket for a sale",
        "description": "One per customer and sale: whoever asks again, with whatever key, gets the same one.",
        "parameters": [
            id_in_path("sale_id"),
            IDEMPOTENCY_KEY,
        ],
        "responses": {"201": {"description": "The ticket", "content": {"application/json": {"schema": view}}}},
        "security": [{"token": []}],
    }
    return RawRoute("POST", "/v1/sales/", "/waiting-room/tickets", "sale_id", answer, operation, schemas)


def routes(service: WaitingRoomService, outages: Outages) -> list[ControllerRouterHandler]:
    @put(
        "/v1/sales/{sale_id:str}/waiting-room",
        guards=[allow("merchant", "admin")],
        tags=["waiting room"],
        summary="Put a waiting room before a sale that has not opened, or take it away",
    )
    async def switch(request: AnyRequest, sale_id: FromPath[str], data: JSONBody[RoomBody]) -> WaitingRoomView:
        room = await service.switch(principal_of(request), parse_id(sale_id), enabled=data.enabled)
        return WaitingRoomView.of(room, service.now_ms())

    @get(
        "/v1/sales/{sale_id:str}/waiting-room",
        guards=[public],
        tags=["waiting room"],
        summary="The waiting room of a sale",
        description="As a page for those who accept HTML, as browsers do.",
        opt={"also_answers": "text/html"},
    )
    async def show(request: AnyRequest, sale_id: FromPath[str]) -> Response[WaitingRoomView | str]:
        room = await service.room(parse_id(sale_id))
        if "text/html" in request.headers.get("accept", ""):
            nonce = secrets.token_urlsafe(16)
            return Response(page.page(room, nonce), media_type="text/html", headers=page.policy(nonce))
        return Response(WaitingRoomView.of(room, service.now_ms()), headers={"vary": "accept"})

    @get(
        "/v1/sales/{sale_id:str}/waiting-room/draw",
        guards=[public],
        tags=["waiting room"],
        summary="The draw, for everybody to check",
        description="Empty before it. See docs/contexts/waiting_room.md for how it is checked.",
    )
    async def draw(
        sale_id: FromPath[str], cursor: FromQuery[str | None] = None, limit: FromQuery[int] = LIMIT_DEFAULT
    ) -> DrawView:
        after = decode_cursor(cursor) if cursor is not None else 0
        room, places = await service.places(parse_id(sale_id), after, checked_limit(limit))
        items = [PlaceView(place, str(ticket_id), place <= room.lot) for place, ticket_id in places]
        more = encode_cursor(places[-1][0]) if len(places) == limit else None
        return DrawView(room.seed_hash, None if room.drawn_ms is None else room.seed.hex(), items, more)

    @get(
        "/v1/sales/{sale_id:str}/waiting-room/tickets/mine",
        guards=[allow("customer")],
        tags=["waiting room"],
        summary="One's own ticket: place, estimate, and the admission when it is one's turn",
    )
    async def mine(request: AnyRequest, sale_id: FromPath[str]) -> TicketView:
        return TicketView.of(await service.mine(principal_of(request), parse_id(sale_id)))

    @get(
        "/v1/sales/{sale_id:str}/waiting-room/tickets/mine/live",
        guards=[allow("customer")],
        media_type=MEDIA_TYPE,
        opt={STREAMS: (TicketView,)},
        tags=["waiting room"],
        summary="One's own ticket as it moves on (server-sent events)",
    )
    async def follow(request: AnyRequest, sale_id: FromPath[str]) -> EventStream:
        topic = parse_id(sale_id)
        look = await service.follower(principal_of(request), topic)

        async def read(cursor: int, _limit: int) -> Sequence[tuple[int, bytes]]:
            standing = await look(cursor)
            return [] if standing is None else [(standing.room.version, _encode(TicketView.of(standing)))]

        return event_stream(request, service.hub, topic, read, last_event_id(request))

    @get(
        "/v1/admin/waiting-rooms",
        guards=[allow("admin")],
        tags=["operation"],
        summary="Waiting rooms that fail",
        description="Those that this process should let people in from and cannot, the longest outage first.",
    )
    async def failing() -> FailingRoomsView:
        return FailingRoomsView([FailingRoomView.of(each) for each in outages.failing(service.now_ms())])

    return [switch, show, draw, mine, follow, failing]
