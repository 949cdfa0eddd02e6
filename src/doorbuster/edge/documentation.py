"""A page that shows the OpenAPI document without the internet, and the document itself.

The page is plain HTML made from the document: the known viewers load scripts from elsewhere, and the one that is
packaged for Python does not read OpenAPI 3.1.
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable
from typing import Any, cast

import msgspec
from litestar import Response, get
from litestar.types import ControllerRouterHandler

from doorbuster.edge.openapi import operations
from doorbuster.platform.http.faces import public

Making = Callable[[], dict[str, Any]]
"""Makes the OpenAPI document."""

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
        self._made: asyncio.Future[tuple[bytes, str]] | None = None

    async def document(self) -> bytes:
        """As JSON."""
        return (await self._once())[0]

    async def page(self) -> str:
        return (await self._once())[1]

    async def _once(self) -> tuple[bytes, str]:
        if self._made is None or (self._made.done() and (self._made.cancelled() or self._made.exception())):
            self._made = asyncio.ensure_future(asyncio.to_thread(self._make_both))
        return await asyncio.shield(self._made)

    def _make_both(self) -> tuple[bytes, str]:
        document = self._make()
        return msgspec.json.encode(document), page(document)


def documentation_routes(make: Making) -> list[ControllerRouterHandler]:
    documentation = Documentation(make)

    @get("/openapi.json", guards=[public], tags=["documentation"], summary="This API as OpenAPI 3.1")
    async def openapi() -> Response[dict[str, Any]]:
        encoded: Any = await documentation.document()
        return Response(encoded, media_type="application/json")

    @get("/docs", guards=[public], tags=["documentation"], summary="This API as a page", media_type="text/html")
    async def docs() -> Response[str]:
        return Response(await documentation.page(), headers=HTML_POLICY)

    return [openapi, docs]


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#1b1f24}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dae0}summary{cursor:pointer;padding:.35rem 0}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:#f4f6f8;padding:.6rem;overflow:auto;border-radius:6px}
.m{display:inline-block;min-width:4.2rem;font-weight:600}.get{color:#0a6}.post{color:#06c}.patch{color:#a60}.delete{color:#c22}
.lock{color:#777}details{border-bottom:1px solid #eef0f2}nav a{margin-right:1rem}
@media(prefers-color-scheme:dark){body{background:#14171a;color:#e4e7ea}pre{background:#20252a}h2{border-color:#333}details{border-color:#262b30}a{color:#7ab8ff}}
"""


def page(document: dict[str, Any]) -> str:
    """The whole document as one HTML page: by tag, each operation with parameters, bodies and answers."""
    by_tag: dict[str, list[str]] = {}
    for path, method, operation in operations(document):
        for tag in operation.get("tags", ["other"]):
            by_tag.setdefault(tag, []).append(_operation(path, method, operation, document))
    tags = sorted(by_tag)
    links = " ".join(f'<a href="#{html.escape(tag)}">{html.escape(tag)}</a>' for tag in tags)
    sections = "".join(f'<h2 id="{html.escape(tag)}">{html.escape(tag)}</h2>{"".join(by_tag[tag])}' for tag in tags)
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{html.escape(info['title'])} API {html.escape(info['version'])}</h1>"
        "<p>Errors are problem details (RFC 9457) with a stable <code>slug</code>. Creating requests carry an "
        "<code>Idempotency-Key</code>: the same key and body get the same answer. Ids are decimal strings, amounts "
        'integer minor units. The document itself: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<nav>{links}</nav>{sections}</body></html>"
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
