"""Which route a request takes: the first that fits, found with one match of one expression.

Paths that two readers could understand differently are refused first; what is left is matched decoded, so that
`%61dmin` takes the route of `admin`, as it would on the server behind.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from doorbuster.edge.gateway.settings import HeaderMatch, Route
from doorbuster.platform.http.problems import AmbiguousPath, RouteNotFound
from doorbuster.platform.http.raw import Scope

T = TypeVar("T")

_SEGMENT = re.compile(r"\{[a-z_]{1,32}\}|[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_AMBIGUOUS = re.compile(rb"//|\\|/\.\.?(?:/|\Z)|%(?:2[fFeE]|5[cC]|[01].|7[fF]|(?![0-9A-Fa-f]{2}))|[^!-~]")


class BadPattern(Exception):
    """Why a path pattern makes no sense."""


class _Rule(NamedTuple, Generic[T]):
    methods: frozenset[str]
    headers: tuple[tuple[bytes, bytes | None], ...]
    path: re.Pattern[str]
    target: T


class RouteTable(Generic[T]):
    """Routes with what each leads to."""

    def __init__(self, routes: Sequence[tuple[Route, T]]) -> None:
        """Raises BadPattern."""
        expressions = [expression_of(route.path) for route, _ in routes]
        self._rules = [
            _Rule(frozenset(route.methods), _headers(route.headers), re.compile(expression, re.DOTALL), target)
            for (route, target), expression in zip(routes, expressions, strict=True)
        ]
        # One group for each route: the number of the one that matched is the route's.
        self._any = re.compile("|".join(f"({expression})" for expression in expressions), re.DOTALL)

    def find(self, scope: Scope) -> T:
        """Raises AmbiguousPath, RouteNotFound."""
        raw: bytes = scope["raw_path"]
        # Most paths hold nothing that could be ambiguous, and looking for that is cheaper than the expression.
        if (b"%" in raw or b"//" in raw or b"/." in raw or b"\\" in raw or not raw.isascii()) and _AMBIGUOUS.search(
            raw
        ):
            raise AmbiguousPath
        path: str = scope["path"]
        found = self._any.match(path)
        if found is None:
            raise RouteNotFound
        assert found.lastindex is not None
        first = found.lastindex - 1
        if _fits(self._rules[first], scope):
            return self._rules[first].target
        for rule in self._rules[first + 1 :]:
            if rule.path.match(path) and _fits(rule, scope):
                return rule.target
        raise RouteNotFound


def expression_of(pattern: str) -> str:
    """A path pattern as a regular expression without groups. Raises BadPattern."""
    *segments, last = pattern.removeprefix("/").split("/")
    whole = "".join(f"/{_segment(segment)}" for segment in segments)
    if last == "**":
        return rf"{whole}(?:/.*)?\Z"
    return rf"{whole}/{_segment(last) if last else ''}\Z"


def _segment(segment: str) -> str:
    if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
        raise BadPattern(f"{segment!r} is not a segment: text, {{name}}, or ** at the end")
    if "*" in segment:
        raise BadPattern("** may only be the last segment, and * stands for nothing")
    return "[^/]+" if segment.startswith("{") else re.escape(segment)


def _headers(matches: Sequence[HeaderMatch]) -> tuple[tuple[bytes, bytes | None], ...]:
    return tuple(
        (match.name.lower().encode(), None if match.value is None else match.value.encode()) for match in matches
    )


def _fits(rule: _Rule[T], scope: Scope) -> bool:
    if rule.methods and scope.get("method", "GET") not in rule.methods:
        return False
    return not rule.headers or all(has_header(scope, name, value) for name, value in rule.headers)


def has_header(scope: Scope, name: bytes, value: bytes | None) -> bool:
    return any(field == name and (value is None or value == held) for field, held in scope["headers"])
