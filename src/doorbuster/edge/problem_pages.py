"""Where the `type` of a problem leads: a page about it, for people and for programs."""

from __future__ import annotations

import html

from litestar import Response, get
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from doorbuster.edge.documentation import HTML_POLICY
from doorbuster.edge.problem_catalogue import Entry, catalogue
from doorbuster.platform.http.faces import AnyRequest, public
from doorbuster.platform.http.problems import RouteNotFound


class ProblemList(Struct, frozen=True):
    """Every problem that this API answers with."""

    items: list[Entry]


def problem_routes() -> list[ControllerRouterHandler]:
    @get("/problems", guards=[public], tags=["documentation"], summary="Every problem that this API answers with")
    async def problems() -> ProblemList:
        return ProblemList(list(catalogue().values()))

    @get(
        "/problems/{slug:str}",
        guards=[public],
        tags=["documentation"],
        summary="What a problem means",
        description="As HTML for those who accept it, as browsers do.",
        opt={"also_answers": "text/html"},
    )
    async def problem(request: AnyRequest, slug: FromPath[str]) -> Response[Entry | str]:
        entry = catalogue().get(slug)
        if entry is None:
            raise RouteNotFound("there is no such problem")
        if "text/html" in request.headers.get("accept", ""):
            return Response(page(entry), media_type="text/html", headers={**HTML_POLICY, "vary": "accept"})
        return Response(entry, headers={"vary": "accept"})

    return [problems, problem]


def page(entry: Entry) -> str:
    title = html.escape(entry.title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>'
        f"<h1>{title}</h1><p><code>{html.escape(entry.slug)}</code>, status {entry.status}</p>"
        f"<p>{html.escape(entry.when)}</p>"
        '<p><a href="/docs">Documentation of the API</a></p></body></html>'
    )
