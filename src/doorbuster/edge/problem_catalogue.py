"""Every problem that the shop can answer with, from the error classes themselves.

`python -m doorbuster.edge.problem_catalogue > docs/problems.md` renews the table in the documentation.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from msgspec import Struct

from doorbuster import contracts, kernel
from doorbuster.kernel.errors import ShopError
from doorbuster.platform import http
from doorbuster.platform.http.problems import status_of

_ELSEWHERE = (
    "doorbuster.edge.gateway.errors",
    "doorbuster.platform.breaker.errors",
    "doorbuster.platform.fallback.features",
    "doorbuster.platform.neighbour.errors",
    "doorbuster.platform.sql.errors",
    "doorbuster.platform.sql.paging",
)
"""Modules with errors of their own beside the kernel, the contracts and what all faces share."""

_BY_STATUS = {
    400: "The request itself is wrong; repeating it will not help.",
    401: "Nobody is logged in, as far as this request shows.",
    403: "Somebody is logged in, but not somebody who may do this.",
    404: "There is nothing at this id for whoever asks; what belongs to somebody else looks the same.",
    409: "The request is right, but not now.",
    413: "Send less at a time.",
    422: "The request is well-formed, but contradicts what is known.",
    429: "Nothing was done. Try again after the seconds in Retry-After.",
    503: "Try again after the seconds in Retry-After.",
}
"""When it happens, for errors whose title says it all."""


class Entry(Struct, frozen=True):
    """A problem as its page shows it. `when` says when it happens, and what to do."""

    slug: str
    title: str
    status: int
    when: str


@cache
def catalogue() -> Mapping[str, Entry]:
    """By slug, in order."""
    _import_all()
    kinds: dict[str, type[ShopError]] = {}
    for kind in _descendants(ShopError):
        if issubclass(kind, kinds.get(kind.slug, ShopError)):  # the more special one of two
            kinds[kind.slug] = kind
    return {slug: _entry(kinds[slug]) for slug in sorted(kinds)}


def _import_all() -> None:
    for package in (kernel, contracts, http):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)
    for name in _ELSEWHERE:
        import_module(name)


def _descendants(kind: type[ShopError]) -> Iterator[type[ShopError]]:
    """Those with a slug of their own; tests may have made others."""
    for child in kind.__subclasses__():
        if "slug" in vars(child) and child.__module__.startswith("doorbuster."):
            yield child
        yield from _descendants(child)


def _entry(kind: type[ShopError]) -> Entry:
    status = status_of(kind)
    own = inspect.cleandoc(kind.__doc__ or "")
    when = " ".join(own.split()) or _BY_STATUS.get(status, "")
    return Entry(kind.slug, kind.title, status, when)


def as_markdown() -> str:
    """docs/problems.md."""
    rows = "".join(f"| `{each.slug}` | {each.status} | {each.title}. {each.when} |\n" for each in catalogue().values())
    return (
        "# Problems\n\n"
        "Everything the API refuses is a problem document (RFC 9457) with one of these slugs; `type` leads to a page\n"
        "about it. Slugs are stable, texts are not. Made from the error classes: do not edit, run\n"
        "`python -m doorbuster.edge.problem_catalogue > docs/problems.md`.\n\n"
        f"| slug | status | when |\n| --- | --- | --- |\n{rows}"
    )


if __name__ == "__main__":
    sys.stdout.write(as_markdown())
