"""A page that shows the OpenAPI document without the internet, and the document itself.

The page is plain HTML made from the document: the known viewers load scripts from elsewhere, and the one that is
packaged for Python does not read OpenAPI 3.1.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from doorbuster.edge.openapi import operations
from doorbuster.platform.http.faces import public

Making = Callable[[], tuple[dict[str, Any], dict[str, Any]]]
"""Makes the OpenAPI document and the AsyncAPI document."""


class Made(NamedTuple):
    """The documents as JSON, and both as one page."""

    openapi: bytes
    asyncapi: bytes
    page: bytes


HTML_POLICY = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}
"""Nothing is loaded, run or framed: the pages are text with a style."""


class Documentation:
    """Made in a thread when somebody first asks, and kept: it takes most of a second, and nobody asks most processes.
    A sale goes on meanwhile."""

    def __init__(self, make: Making) -> None:
        self._make = make
        self._made: asyncio.Future[Made] | None = None

    async def made(self) -> Made:
        if self._made is None or (self._made.done() and (self._made.cancelled() or self._made.exception())):
            self._made = asyncio.ensure_future(asyncio.to_thread(self._make_all))
        return await asyncio.shield(self._made)

    def _make_all(self) -> Made:
        document, events = self._make()
        return Made(msgspec.json.encode(document), msgspec.json.encode(events), page(document, events).encode())


def documentation_routes(make: Making) -> list[ControllerRouterHandler]:
    documentation = Documentation(make)

    @get("/openapi.json", guards=[public], tags=["documentation"], summary="This API as OpenAPI 3.1")
    async def openapi() -> Response[dict[str, Any]]:
        return _sent((await documentation.made()).openapi)

    @get(
        "/asyncapi.json",
        guards=[public],
        tags=["documentation"],
        summary="WebSockets, event streams and events as AsyncAPI 3.0",
    )
    async def asyncapi() -> Response[dict[str, Any]]:
        return _sent((await documentation.made()).asyncapi)

    @get("/docs", guards=[public], tags=["documentation"], summary="This API as a page", media_type="text/html")
    async def docs() -> Response[bytes]:
        return Response((await documentation.made()).page, headers=HTML_POLICY)

    return [openapi, asyncapi, docs]


def _sent(encoded: Any) -> Response[dict[str, Any]]:
    """It is JSON already."""
    return Response(encoded, media_type="application/json")


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1b1f24}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dae0}summary{cursor:pointer;padding:.35rem 0}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f6f8;padding:.6rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.2rem;font-weight:600}.get{color:#0a6}.post{color:#06c}.patch{color:#a60}.delete{color:#c22}
.lock{color:#777}details{border-bottom:1px solid #eef0f2}nav a{margin-right:1rem}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e4e7ea}pre{background:#20252a}h2{border-color:#333}details{border-color:#262b30}a{color:#7ab8ff}}
"""


def page(document: dict[str, Any], events: dict[str, Any]) -> str:
    """Both documents as one HTML page: by tag, each operation with parameters, bodies and answers; then what is told
    without being asked for, channel by channel."""
    by_tag: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        for tag in operation.get("tags", ["other"]):
            by_tag.setdefault(tag, []).append(_operation(path, method, operation, document))
    tags = sorted(by_tag)
    links = " ".join(f'<a href="#{html.escape(tag)}">{html.escape(tag)}</a>' for tag in tags)
    links += ' <a href="#events">streams and events</a>'
    sections = "".join(f'<h2 id="{html.escape(tag)}">{html.escape(tag)}</h2>{"".join(by_tag[tag])}' for tag in tags)
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(info['title'])} API {html.escape(info['version'])}</h1>"
        "<p>Errors are problem details (RFC 9457) with a stable <code>slug</code>. Creating requests carry an "
        "<code>Idempotency-Key</code>: the same key and body get the same answer. Ids are decimal strings, amounts "
        'integer minor units. The documents themselves: <a href="/openapi.json">openapi.json</a>, '
        '<a href="/asyncapi.json">asyncapi.json</a>.</p>'
        f"<nav>{links}</nav>{sections}"
        f'<h2 id="events">Streams and events</h2><p>{html.escape(events["info"]["description"])}</p>'
        f"{''.join(_channel(name, events) for name in events['channels'])}</body></html>"
    )


def _operation(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    lock = ' <span class="lock">needs a token</span>' if operation.get("security") else ""
    parts = [
        f'<details><summary><span class="m {method}">{method.upper()}</span> <code>{html.escape(path)}</code> '
        f"{html.escape(operation.get('summary', ''))}{lock}</summary>"
    ]
    if description := operation.get("description"):
        parts.append(f"<p>{html.escape(description)}</p>")
    for parameter in operation.get("parameters", []):
        need = "required" if parameter.get("required") else "optional"
        parts.append(
            f"<p><code>{html.escape(parameter['name'])}</code> in {html.escape(parameter['in'])}, {need}: "
            f"<code>{html.escape(json.dumps(parameter.get('schema', {})))}</code></p>"
        )
    if body := operation.get("requestBody"):
        parts.append(f"<p>Body</p>{_schemas(body['content'], document)}")
    for status, response in sorted(operation["responses"].items()):
        parts.append(f"<p>{html.escape(status)}: {html.escape(response.get('description', ''))}</p>")
        parts.append(_schemas(response.get("content", {}), document))
    return "".join(parts) + "</details>"


def _channel(name: str, events: dict[str, Any]) -> str:
    channel = events["channels"][name]
    parts = [
        f'<details><summary><span class="m">{_kind_of(channel)}</span> <code>{html.escape(channel["address"])}</code> '
        f"{html.escape(channel['title'])}</summary><p>{html.escape(channel['description'])}</p>"
    ]
    for action, title in (("send", "The shop says"), ("receive", "It understands")):
        operation = events["operations"].get(f"{name}.{action}")
        for message in () if operation is None else operation["messages"]:
            told = events["components"]["messages"][message["$ref"].rpartition("/")[2]]
            parts.append(
                f"<p>{title}: <code>{html.escape(told['name'])}</code> {html.escape(told.get('summary', ''))}</p>"
            )
            parts.append(_schemas({"application/json": {"schema": told["payload"]}}, events))
    return "".join(parts) + "</details>"


def _kind_of(channel: dict[str, Any]) -> str:
    bindings = channel.get("bindings", {})
    return "SOCKET" if "ws" in bindings else "STREAM" if "http" in bindings else "EVENTS"


def _schemas(content: dict[str, Any], document: dict[str, Any]) -> str:
    shown: list[str] = []
    for media_type, body in content.items():
        schema = json.dumps(_resolved(body.get("schema", {}), document, depth=4), indent=2, ensure_ascii=False)
        shown.append(f"<pre>{html.escape(media_type)}\n{html.escape(schema)}</pre>")
    return "".join(shown)


def _resolved(schema: Any, document: dict[str, Any], depth: int) -> Any:
    """The schema with its references filled in, `depth` levels down."""
    if isinstance(schema, list):
        return [_resolved(item, document, depth) for item in cast("list[Any]", schema)]
    if not isinstance(schema, dict):
        return schema
    fields = cast("dict[str, Any]", schema)
    if "$ref" in fields and depth:
        name = str(fields["$ref"]).rpartition("/")[2]
        return _resolved(document["components"]["schemas"].get(name, {}), document, depth - 1)
    return {key: _resolved(value, document, depth) for key, value in fields.items()}
