"""Error slugs: part of the API, so each is one word for one thing."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from itertools import combinations

import pytest

import doorbuster
from doorbuster.kernel.errors import Busy, Conflict, NotFound, Overloaded, ShopError

KEBAB = re.compile(r"[a-z]+(-[a-z0-9]+)*")


@pytest.fixture(scope="module")
def errors() -> list[type[ShopError]]:
    """Every error of the code."""
    for module in pkgutil.walk_packages(doorbuster.__path__, "doorbuster."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return [error for error in descendants(ShopError) if error.__module__.startswith("doorbuster.")]


def descendants(error: type[ShopError]) -> Iterator[type[ShopError]]:
    for child in error.__subclasses__():
        yield child
        yield from descendants(child)


def definer(error: type[ShopError]) -> type[ShopError]:
    """Who gave it its slug: itself, or the nearest kind above it."""
    return next(kind for kind in error.__mro__ if "slug" in vars(kind))


def ambiguous(errors: Iterable[type[ShopError]]) -> set[str]:
    """Slugs that mean two things. A more special error may go by the name of its kind, in the same words."""
    return {
        one.slug
        for one, other in combinations(set(errors), 2)
        if one.slug == other.slug
        and not (
            one.title == other.title
            and (issubclass(definer(one), definer(other)) or issubclass(definer(other), definer(one)))
        )
    }


def test_a_slug_means_one_thing(errors: list[type[ShopError]]):
    assert len(errors) > 50
    assert ambiguous(errors) == set()


def test_slugs_are_kebab_case_and_titles_are_sentences_for_people(errors: list[type[ShopError]]):
    assert [error.slug for error in errors if not KEBAB.fullmatch(error.slug)] == []
    assert [error.title for error in errors if not error.title[:1].isupper() or error.title.endswith(".")] == []


def test_two_meanings_of_one_slug_are_noticed():
    class Gone(NotFound):
        slug = "gone"
        title = "It was there"

    class AlsoGone(Conflict):
        slug = "gone"
        title = "It was there"

    class Vanished(Gone):
        title = "It never was"

    class Missing(Gone):
        pass

    assert ambiguous([Gone, AlsoGone]) == {"gone"}
    assert ambiguous([Gone, Vanished]) == {"gone"}
    assert ambiguous([Gone, Missing, Busy, Overloaded]) == set()
