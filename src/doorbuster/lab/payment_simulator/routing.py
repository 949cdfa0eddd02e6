"""Which handler answers which address."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from msgspec import Struct

from doorbuster.lab.payment_simulator.errors import MethodNotAllowedError, RouteNotFoundError
from doorbuster.lab.payment_simulator.exchange import Request, Response

Handler = Callable[[Request, str], Awaitable[Response]]

_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Route(Struct, frozen=True):
    """``template`` has at most one ``{}``, which the handler receives as its key ("" without one).

    ``name`` is the route's name for ``drop_reply_on``. Only a ``provider`` route misbehaves.
    """

    method: str
    template: str
    handler: Handler
    name: str = ""
    provider: bool = True


class Routes:
    """Finds routes by method and path."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._by_shape: dict[tuple[str, ...], dict[str, Route]] = {}
        for route in routes:
            self._by_shape.setdefault(tuple(route.template.split("/")), {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, str]:
        """The route and its key.

        Raises:
            RouteNotFoundError: no route has this path.
            MethodNotAllowedError: one has, with other methods.
        """
        by_method, key = self._match(tuple(path.split("/", maxsplit=8)))
        if method not in by_method:
            raise MethodNotAllowedError(tuple(sorted(by_method)))
        return by_method[method], key

    def _match(self, segments: tuple[str, ...]) -> tuple[dict[str, Route], str]:
        if segments in self._by_shape and "{}" not in segments:
            return self._by_shape[segments], ""
        for position in range(1, len(segments)):
            shape = (*segments[:position], "{}", *segments[position + 1 :])
            if shape in self._by_shape and _KEY.fullmatch(segments[position]):
                return self._by_shape[shape], segments[position]
        raise RouteNotFoundError
