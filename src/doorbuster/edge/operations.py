"""For operators: the neighbours that this process calls, as they are, and their breakers by hand.

By hand is for this process, until it ends; `forced` in a group of the `resilience` settings is for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from litestar import get, put
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.platform.breaker import Force, State
from doorbuster.platform.http.faces import allow
from doorbuster.platform.neighbour import Neighbours, NeighbourSnapshot
from doorbuster.platform.neighbour.errors import NeighbourNotFound
from doorbuster.platform.neighbour.registry import NAME_MAX

NeighbourName = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]


class ForceBody(Struct, frozen=True, forbid_unknown_fields=True):
    """`open`: nobody is let through; `closed`: everybody is; `auto`: the breaker decides again, and begins anew."""

    forced: Force
    instance: Annotated[str, Meta(max_length=NAME_MAX)] = ""


class BreakerView(Struct, frozen=True):
    """`calls`, `failed`, `slow`: of the rolling window, or of the probes while half open."""

    neighbour: str
    instance: str
    state: State
    forced: Force
    calls: int
    failed: int
    slow: int
    probes_under_way: int
    retry_after_ms: int
    opened_times: int
    refused: int
    under_way: int
    waiting: int
    overloaded: int
    retry_tokens: float
    hedges: int


class BreakersView(Struct, frozen=True):
    items: list[BreakerView]


def operation_routes(neighbours: Neighbours) -> Sequence[ControllerRouterHandler]:
    @get("/v1/admin/breakers", guards=[allow("admin")], tags=["operation"], summary="Neighbours and their breakers")
    async def breakers() -> BreakersView:
        return BreakersView([_view(seen) for seen in neighbours.snapshots()])

    @put(
        "/v1/admin/breakers/{neighbour:str}",
        guards=[allow("admin")],
        tags=["operation"],
        summary="Force a breaker open or closed, or let it decide",
    )
    async def force(neighbour: FromPath[NeighbourName], data: JSONBody[ForceBody]) -> BreakerView:
        seen = neighbours.force(neighbour, data.instance, data.forced)
        if seen is None:
            raise NeighbourNotFound
        return _view(seen)

    return [breakers, force]


def _view(seen: NeighbourSnapshot) -> BreakerView:
    breaker = seen.breaker
    return BreakerView(
        seen.name,
        seen.instance,
        breaker.state,
        breaker.forced,
        breaker.calls,
        breaker.failed,
        breaker.slow,
        breaker.probes_under_way,
        breaker.retry_after_ms,
        breaker.opened_times,
        breaker.refused,
        seen.under_way,
        seen.waiting,
        seen.overloaded,
        seen.retry_tokens,
        seen.hedges,
    )
