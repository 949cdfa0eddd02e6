"""For operators: neighbours and their breakers as they are and by hand, who is let in, and the copies that are kept.

By hand is for this process, until it ends; `forced` in a group of the `resilience` settings is for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Protocol

from litestar import get, post, put
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler
from msgspec import Meta, Struct

from doorbuster.platform.breaker import Force, State
from doorbuster.platform.cache.port import Cache, Flushed
from doorbuster.platform.http.faces import allow
from doorbuster.platform.neighbour import Neighbours, NeighbourSnapshot
from doorbuster.platform.neighbour.errors import NeighbourNotFound
from doorbuster.platform.neighbour.registry import NAME_MAX
from doorbuster.platform.shedding import Shedder, ShedderSnapshot

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


class CacheView(Struct, frozen=True):
    """Of this process, since it began; `entries` are in the process now. Each read is one of `local_hits`,
    `redis_hits`, `joined` (shared the answer of a read that was under way), `loads` (asked the database) and `bypassed`
    (asked it because copies could not be trusted)."""

    name: str
    entries: int
    local_hits: int
    redis_hits: int
    joined: int
    loads: int
    bypassed: int
    refused: int
    redis_failures: int


class CachesView(Struct, frozen=True):
    items: list[CacheView]


class Copies(Protocol):
    """What a process keeps copies of."""

    def named(self) -> Mapping[str, Cache[Any]]: ...
    async def flush(self) -> Flushed: ...


def operation_routes(neighbours: Neighbours, shedder: Shedder, copies: Copies) -> Sequence[ControllerRouterHandler]:
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

    @get("/v1/admin/shedding", guards=[allow("admin")], tags=["operation"], summary="Who is let in, and who is not")
    async def shedding() -> ShedderSnapshot:
        return shedder.snapshot()

    @get("/v1/admin/cache", guards=[allow("admin")], tags=["operation"], summary="What is kept in copies, and how used")
    async def caches() -> CachesView:
        return CachesView([_seen(name, cache) for name, cache in copies.named().items()])

    @post(
        "/v1/admin/cache/flush",
        guards=[allow("admin")],
        tags=["operation"],
        status_code=200,
        summary="Forget every copy of this process, and of Redis",
        description="Nothing is lost: what is asked for is read from the database again. See docs/cache.md.",
    )
    async def flush() -> Flushed:
        return await copies.flush()

    return [breakers, force, shedding, caches, flush]


def _seen(name: str, cache: Cache[Any]) -> CacheView:
    stats = cache.stats
    return CacheView(
        name,
        cache.entries(),
        stats.local_hits,
        stats.redis_hits,
        stats.joined,
        stats.loads,
        stats.bypassed,
        stats.refused,
        stats.redis_failures,
    )


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
