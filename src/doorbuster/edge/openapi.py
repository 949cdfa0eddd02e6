"""The OpenAPI document, completed with what the framework cannot know or says too loosely.

Bodies and answers are described by msgspec itself, which also checks them: the framework's own description forgets
that unknown fields are refused and loses bounds inside lists and unions.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from doorbuster.platform.http.faces import roles_of
from doorbuster.platform.http.problems import CONTENT_TYPE, Problem
from doorbuster.platform.http.raw import IDEMPOTENCY_KEY, RawRoute
from doorbuster.platform.sql.paging import LIMIT_DEFAULT, LIMIT_MAX

METHODS = ("get", "post", "put", "patch", "delete")

KEYLESS = {("/v1/sessions", "post")}
"""Creates without an Idempotency-Key, on purpose: every log-in is a session of its own."""

ID = {"type": "string", "pattern": "^[0-9]{1,19}$", "description": "A 64-bit id in decimal"}
PARAMETERS = {
    "cursor": {"type": "string", "pattern": "^[A-Za-z0-9_-]{11}$", "description": "`next_cursor` of the page before"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
}
"""Parameters that mean the same wherever they appear; their own checks refuse with their own slugs."""


def complete_document(document: dict[str, Any], app: Litestar, raw_routes: Sequence[RawRoute]) -> dict[str, Any]:
    """The framework's document with exact schemas, raw routes, problems, and who needs a token or a key."""
    # The framework leaves default values of ours in it; what is published must be plain JSON.
    document = msgspec.json.decode(msgspec.json.encode(document))
    handlers = {(path, method): handler for path, method, handler in _handlers(app)}
    components: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    components.update(_exact_schemas(handlers.values()))
    for route in raw_routes:
        document["paths"].setdefault(route.path, {})[route.method.lower()] = dict(route.operation)
        for name, schema in route.schemas.items():
            assert components.setdefault(name, schema) == schema, f"two schemas are called {name}"
    problem = {"description": "A problem", "content": {CONTENT_TYPE: {"schema": _reference(Problem)}}}
    for path, method, operation in operations(document):
        responses = operation.setdefault("responses", {})
        responses.pop("400", None)
        responses["default"] = problem
        handler = handlers.get((path, method))
        if handler is not None:
            _complete(path, method, operation, handler)
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of the whole document."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _handlers(app: Litestar) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
    for route in app.routes:
        for handler in cast("list[HTTPRouteHandler]", getattr(route, "route_handlers", [])):
            for method in handler.http_methods:
                yield str(getattr(route, "path_format", route.path)), method.lower(), handler


def _exact_schemas(handlers: Any) -> dict[str, Any]:
    """By name, the schemas of every Struct that a handler takes or returns, and of those within them."""
    kinds: dict[str, type[msgspec.Struct]] = {Problem.__name__: Problem}
    for handler in handlers:
        for field in (handler.parsed_data_field, handler.parsed_return_field):
            for kind in () if field is None else (field.annotation, *(inner.annotation for inner in field.inner_types)):
                if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
                    kinds[kind.__name__] = kind
    _, schemas = msgspec.json.schema_components(list(kinds.values()), ref_template="#/components/schemas/{name}")
    return schemas


def _reference(kind: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _complete(path: str, method: str, operation: dict[str, Any], handler: HTTPRouteHandler) -> None:
    """A handler that reads its body raw, or answers in two ways, describes that itself in its `opt`."""
    for name in ("requestBody", "parameters"):
        if name in handler.opt:
            operation[name] = handler.opt[name]
    if "also_answers" in handler.opt:
        operation["responses"]["200"]["content"][handler.opt["also_answers"]] = {"schema": {"type": "string"}}
    for parameter in operation.get("parameters", []):
        _complete_parameter(parameter)
    if method == "post" and "201" in operation["responses"] and (path, method) not in KEYLESS:
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    roles = roles_of(handler)
    if roles:
        operation["security"] = [{"token": []}]
        operation["description"] = f"{operation.get('description', '')} Roles: {', '.join(roles)}.".strip()


def _complete_parameter(parameter: dict[str, Any]) -> None:
    name: str = parameter["name"]
    if parameter["in"] == "path" and name.endswith("_id"):
        parameter["schema"] = ID
    elif parameter["in"] == "query" and name in PARAMETERS:
        parameter["schema"] = PARAMETERS[name]
