"""Fan out and in: one piece of work on many items, so many at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from doorbuster.platform.pools.ending import one_fate

A = TypeVar("A")
B = TypeVar("B")


async def at_most(number: int, items: Iterable[A], work: Callable[[A], Awaitable[B]]) -> list[B]:
    """`work` on each item, `number` at a time, in the order of the items. The caller bounds the items.

    There are never more than `number` tasks, and an item is taken when somebody is free for it. The first error cancels
    the others, takes no further items, and is raised as it is when all have ended.
    """
    assert number >= 1, "somebody must work"
    results: list[Any] = []

    def taken() -> Iterator[tuple[int, A]]:
        for item in items:
            results.append(None)
            yield len(results) - 1, item

    left = taken()

    async def worker(place: int, item: A) -> None:
        results[place] = await work(item)
        for place, item in left:
            results[place] = await work(item)

    await one_fate(worker(*first) for first in islice(left, number))
    return results


async def outcomes_of(number: int, items: Iterable[A], work: Callable[[A], Awaitable[B]]) -> list[B | Exception]:
    """The same, with an item's error in the place of its result: one that fails stops no other."""

    async def outcome_of(item: A) -> B | Exception:
        try:
            return await work(item)
        except Exception as error:  # noqa: BLE001 - it is the answer; nothing is swallowed
            return error

    return await at_most(number, items, outcome_of)
