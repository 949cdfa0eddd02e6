"""Errors inside the framework, as problems. Its own texts may quote what was sent, so ours take their place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn, cast

from litestar import Request, Response
from litestar.exceptions import HTTPException

from doorbuster.kernel.errors import ShopError
from doorbuster.platform.http.problems import (
    BodyTooLarge,
    InvalidBody,
    InvalidParameter,
    MethodNotAllowed,
    RouteNotFound,
    problem_of,
)

AnyRequest = Request[Any, Any, Any]


def _shop_error(request: AnyRequest, error: ShopError) -> Response[bytes]:
    request_id = cast("dict[str, object]", request.scope).get("request_id", "")
    status, headers, body = problem_of(error, str(request_id))
    fields = {name.decode(): value.decode() for name, value in headers}
    return Response(body, status_code=status, headers=fields, media_type=fields.pop("content-type"))


def _framework_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    return _shop_error(request, _in_our_words(error))


def _in_our_words(error: HTTPException) -> ShopError:
    """Raises the error itself if no caller can have caused it: the door logs it."""
    match error.status_code:
        case 404:
            return RouteNotFound()
        case 405:
            return MethodNotAllowed(allowed((error.headers or {}).get("allow", "").split(", ")))
        case 413:
            return BodyTooLarge()
        case 400:
            return _validation(cast("list[dict[str, str]]", error.extra or []))
        case _:
            raise error


def allowed(methods: Iterable[str]) -> str:
    """The value of Allow. The door answers HEAD wherever there is a GET."""
    taken = set(methods)
    return ", ".join(sorted(taken | {"HEAD"} if "GET" in taken else taken))


def _validation(problems: list[dict[str, str]]) -> ShopError:
    """The framework checks parameters, and that a body is there; what is in it is ours to check."""
    if any(problem.get("key") == "data" for problem in problems):
        return InvalidBody("this request needs a body")
    words = "; ".join(f"{problem.get('key', '')}: {problem.get('message', '')}".strip(": ") for problem in problems)
    return InvalidParameter(words)


def _unexpected(_request: AnyRequest, error: Exception) -> NoReturn:
    """The framework would answer without a log; the door logs and answers."""
    raise error


HANDLERS: Any = {ShopError: _shop_error, HTTPException: _framework_error, Exception: _unexpected}
"""By kind of error; the framework's type for it is not fully known."""
