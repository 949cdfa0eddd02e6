"""Couriers over HTTP."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post, put
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.contexts.delivery.http.views import CourierView, OfferView, TaskView
from doorbuster.contexts.delivery.model import POSITIONS_AT_ONCE
from doorbuster.contexts.delivery.riding import Riding
from doorbuster.kernel.ids import parse_id
from doorbuster.kernel.places import Place
from doorbuster.platform.http.faces import AnyRequest, allow, principal_of

AGO_MAX_S = 3_600
COURIER = allow("courier")


class PresenceBody(Struct, frozen=True, forbid_unknown_fields=True):
    online: bool


class PositionBody(Struct, frozen=True, forbid_unknown_fields=True):
    """WGS 84, in degrees, and how long ago: the clocks of telephones are not to be trusted."""

    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    seconds_ago: Annotated[int, Meta(ge=0, le=AGO_MAX_S)] = 0


class PositionsBody(Struct, frozen=True, forbid_unknown_fields=True):
    positions: Annotated[list[PositionBody], Meta(min_length=1, max_length=POSITIONS_AT_ONCE)]


class CurrentOffer(Struct, frozen=True):
    """Null: nothing is offered now."""

    offer: OfferView | None


class CarriedTasks(Struct, frozen=True):
    items: list[TaskView]


def routes(riding: Riding) -> list[ControllerRouterHandler]:
    return [*_presence_routes(riding), *_offer_routes(riding), *_task_routes(riding)]


def _presence_routes(riding: Riding) -> list[ControllerRouterHandler]:
    @put("/v1/courier/presence", guards=[COURIER], tags=["courier"], summary="Come online, or go")
    async def put_presence(request: AnyRequest, data: JSONBody[PresenceBody]) -> CourierView:
        return CourierView.of(await riding.presence(principal_of(request), online=data.online))

    @post("/v1/courier/positions", status_code=200, guards=[COURIER], tags=["courier"], summary="Where one is and was")
    async def report_positions(request: AnyRequest, data: JSONBody[PositionsBody]) -> CourierView:
        seen = [(Place(each.latitude, each.longitude), each.seconds_ago * 1000) for each in data.positions]
        return CourierView.of(await riding.report(principal_of(request), seen))

    return [put_presence, report_positions]


def _offer_routes(riding: Riding) -> list[ControllerRouterHandler]:
    @get("/v1/courier/offer", guards=[COURIER], tags=["courier"], summary="What one is asked to deliver now")
    async def current_offer(request: AnyRequest) -> CurrentOffer:
        found = await riding.offer(principal_of(request))
        return CurrentOffer(None if found is None else OfferView.of(*found))

    @post(
        "/v1/courier/offers/{offer_id:str}/accept", status_code=200, guards=[COURIER], tags=["courier"], summary="Yes"
    )
    async def accept_offer(request: AnyRequest, offer_id: FromPath[str]) -> TaskView:
        return TaskView.of(await riding.accept(principal_of(request), parse_id(offer_id)))

    @post(
        "/v1/courier/offers/{offer_id:str}/decline", status_code=204, guards=[COURIER], tags=["courier"], summary="No"
    )
    async def decline_offer(request: AnyRequest, offer_id: FromPath[str]) -> None:
        await riding.decline(principal_of(request), parse_id(offer_id))

    return [current_offer, accept_offer, decline_offer]


def _task_routes(riding: Riding) -> list[ControllerRouterHandler]:
    path = "/v1/courier/tasks/{task_id:str}"

    @get("/v1/courier/tasks", guards=[COURIER], tags=["courier"], summary="What one carries")
    async def carried_tasks(request: AnyRequest) -> CarriedTasks:
        return CarriedTasks([TaskView.of(each) for each in await riding.tasks(principal_of(request))])

    @post(f"{path}/pick-up", status_code=200, guards=[COURIER], tags=["courier"], summary="One has it now")
    async def pick_up(request: AnyRequest, task_id: FromPath[str]) -> TaskView:
        return TaskView.of(await riding.pick_up(principal_of(request), parse_id(task_id)))

    @post(f"{path}/deliver", status_code=200, guards=[COURIER], tags=["courier"], summary="The customer has it now")
    async def deliver(request: AnyRequest, task_id: FromPath[str]) -> TaskView:
        return TaskView.of(await riding.deliver(principal_of(request), parse_id(task_id)))

    @post(f"{path}/give-up", status_code=200, guards=[COURIER], tags=["courier"], summary="Somebody else should do it")
    async def give_up(request: AnyRequest, task_id: FromPath[str]) -> TaskView:
        return TaskView.of(await riding.give_up(principal_of(request), parse_id(task_id)))

    return [carried_tasks, pick_up, deliver, give_up]
